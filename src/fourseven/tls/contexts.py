"""The contexts of OpenSSL that one snapshot leaves to the next.

To make a context takes half a millisecond, and a listener may show ten thousand: made anew at each
reload they held up control for seven seconds. So a context is taken over where all that it was made
of is the same: the settings, the certificates, the listener's identity.

That is sound since nothing changes a context once it is made, and since each snapshot holds its own
reference, as each connection does. Here is one more, from one snapshot to the next: what the newest
does not show is let go (and is freed when the last connection of it has ended).

What it does not keep: a context that shows an OCSP response, for that stands in the snapshot's
memory.

Laws: control's alone. A snapshot that could not be made (ValueError) changes nothing for the next.
"""

import cython
from cython.cimports.fourseven.native.openssl import SSL_CTX_free, SSL_CTX_up_ref


@cython.no_gc
@cython.cclass
class Reference:
    """One reference to a context."""

    def __dealloc__(self):
        SSL_CTX_free(self.context)


@cython.cclass
class Contexts:
    """All of one data plane, by what they were made of."""

    def __cinit__(self):
        self.shown = {}
        self.next = {}

    def find(self, made_of):
        """The context of the last snapshot, or NULL; who asks takes a reference of his own."""
        found: object = self.next.get(made_of) or self.shown.get(made_of)
        if found is None:
            return cython.NULL
        self.next[made_of] = found
        return cython.cast(Reference, found).context

    def keep(self, made_of, context):
        """For the next snapshot."""
        made: Reference = Reference.__new__(Reference)
        SSL_CTX_up_ref(context)
        made.context = context
        self.next[made_of] = made
        return 0

    def begin(self):
        """A snapshot is going to be made."""
        self.next = {}
        return 0

    def turn(self):
        """It is made: what it does not show is let go."""
        self.shown = self.next
        self.next = {}
        return 0

    def made_of(self) -> list:
        """Of what those that are kept were made."""
        return list(self.shown)
