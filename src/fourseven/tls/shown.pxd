from fourseven.native.openssl cimport X509, STACK_OF_X509
from fourseven.protocols.message cimport ClientCertificate

cdef class Shown:
    cdef X509 *first
    cdef STACK_OF_X509 *others      # behind it in the file
    cdef ClientCertificate *facts
