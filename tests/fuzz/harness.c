/* The smallest bridge between libFuzzer and the targets, which are written in Cython.

   Python is started and imports the module that FOURSEVEN_FUZZ_MODULE names (targets.py or
   sessions.py), so that every module is initialised as in the product and functions of one module
   that another calls are bound; then the target that FOURSEVEN_FUZZ names is called through its
   exported C pointer, and Python is never entered again. */
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>

typedef void (*target_fn)(const char *data, uint32_t size);

static target_fn target;

static void die(const char *what)
{
    PyErr_Print();
    fprintf(stderr, "fuzz: %s\n", what);
    exit(2);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *name = getenv("FOURSEVEN_FUZZ");
    (void)argc, (void)argv;
    Py_InitializeEx(0); /* no signal handlers: they are libFuzzer's */
    const char *from = getenv("FOURSEVEN_FUZZ_MODULE");
    PyObject *module = from ? PyImport_ImportModule(from) : NULL;
    if (!module)
        die("the targets cannot be imported");
    PyObject *exported = PyObject_GetAttrString(module, "__pyx_capi__");
    PyObject *capsule = exported && name ? PyDict_GetItemString(exported, name) : NULL;
    if (!capsule)
        die("FOURSEVEN_FUZZ names no target");
    target = (target_fn)PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule));
    if (!target)
        die("the target has no address");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    target((const char *)data, (uint32_t)size);
    return 0;
}
