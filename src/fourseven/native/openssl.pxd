# The OpenSSL 3 calls that native modules make. Only what is called stands here.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "<openssl/err.h>" nogil:
    void ERR_clear_error()
    unsigned long ERR_peek_last_error()
    unsigned long ERR_peek_error()
    int ERR_GET_REASON(unsigned long code)
    void ERR_error_string_n(unsigned long code, char *text, size_t size)

cdef extern from "<openssl/rand.h>" nogil:
    int RAND_bytes(unsigned char *to, int size)

cdef extern from "<openssl/crypto.h>" nogil:
    void OPENSSL_cleanse(void *at, size_t size)
    int CRYPTO_memcmp(const void *one, const void *other, size_t size)

cdef extern from "<openssl/hmac.h>" nogil:
    unsigned char *HMAC(
        const void *kind, const void *key, int key_size, const unsigned char *text, size_t size,
        unsigned char *to, unsigned int *made
    )

cdef extern from "<openssl/sha.h>" nogil:
    unsigned char *SHA1(const unsigned char *at, size_t size, unsigned char *digest)
    # As parts, with a state that can be copied: an EVP_MD_CTX is looked up and allocated each time.
    ctypedef struct SHA256_CTX:
        pass
    int SHA256_Init(SHA256_CTX *state)
    int SHA256_Update(SHA256_CTX *state, const void *at, size_t size)
    int SHA256_Final(unsigned char *digest, SHA256_CTX *state)

cdef extern from "<openssl/evp.h>" nogil:
    int EVP_EncodeBlock(unsigned char *to, const unsigned char *at, int size)
    ctypedef struct EVP_PKEY:
        pass
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct EVP_CIPHER_CTX:
        pass
    ctypedef struct EVP_MAC_CTX:
        pass
    ctypedef struct OSSL_PARAM:
        pass
    void EVP_PKEY_free(EVP_PKEY *key)
    EVP_CIPHER *EVP_CIPHER_fetch(void *context, const char *name, const char *properties)
    void EVP_CIPHER_free(EVP_CIPHER *cipher)
    int EVP_EncryptInit_ex(
        EVP_CIPHER_CTX *context, const EVP_CIPHER *cipher, void *engine, const unsigned char *key,
        const unsigned char *iv
    )
    int EVP_DecryptInit_ex(
        EVP_CIPHER_CTX *context, const EVP_CIPHER *cipher, void *engine, const unsigned char *key,
        const unsigned char *iv
    )
    int EVP_MAC_CTX_set_params(EVP_MAC_CTX *context, const OSSL_PARAM *parameters)

cdef extern from "<openssl/core_names.h>" nogil:
    const char *OSSL_MAC_PARAM_KEY
    const char *OSSL_MAC_PARAM_DIGEST

cdef extern from "<openssl/params.h>" nogil:
    OSSL_PARAM OSSL_PARAM_construct_octet_string(const char *key, void *at, size_t size)
    OSSL_PARAM OSSL_PARAM_construct_utf8_string(const char *key, char *at, size_t size)
    OSSL_PARAM OSSL_PARAM_construct_end()

cdef extern from "<openssl/bio.h>" nogil:
    ctypedef struct BIO:
        pass

cdef extern from "<openssl/rsa.h>" nogil:
    pass

cdef extern from "<openssl/x509.h>" nogil:
    ctypedef struct X509:
        pass
    ctypedef struct X509_STORE:
        pass
    ctypedef struct X509_VERIFY_PARAM:
        pass
    long X509_V_OK, X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID
    long X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
    long X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
    long X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    long X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE
    int X509_VERIFY_PARAM_set1_ip_asc(X509_VERIFY_PARAM *parameters, const char *address)
    ctypedef struct X509_NAME:
        pass
    ctypedef struct EVP_MD:
        pass
    ctypedef struct ASN1_STRING:
        pass
    unsigned long XN_FLAG_RFC2253
    int NID_subject_alt_name
    const X509_NAME *X509_get_subject_name(const X509 *certificate)
    const X509_NAME *X509_get_issuer_name(const X509 *certificate)
    const ASN1_STRING *X509_get0_serialNumber(const X509 *certificate)
    int X509_NAME_print_ex(BIO *to, const X509_NAME *name, int indent, unsigned long flags)
    int X509_digest(const X509 *certificate, const EVP_MD *kind, unsigned char *to, unsigned int *size)
    const EVP_MD *EVP_sha256()
    const EVP_MD *EVP_sha384()
    const EVP_MD *EVP_sha512()
    ctypedef struct EVP_MD_CTX:
        pass
    ctypedef struct EVP_PKEY_CTX:
        pass
    int RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST
    EVP_MD_CTX *EVP_MD_CTX_new()
    void EVP_MD_CTX_free(EVP_MD_CTX *context)
    int EVP_DigestVerifyInit(
        EVP_MD_CTX *context, EVP_PKEY_CTX **inner, const EVP_MD *kind, void *engine, EVP_PKEY *key
    )
    int EVP_DigestVerify(
        EVP_MD_CTX *context, const unsigned char *signature, size_t signature_size,
        const unsigned char *text, size_t size
    )
    int EVP_PKEY_CTX_set_rsa_padding(EVP_PKEY_CTX *context, int padding)
    int EVP_PKEY_CTX_set_rsa_pss_saltlen(EVP_PKEY_CTX *context, int size)
    EVP_PKEY *d2i_PUBKEY(EVP_PKEY **to, const unsigned char **at, long size)
    void *X509_get_ext_d2i(const X509 *certificate, int kind, int *critical, int *at)
    const unsigned char *ASN1_STRING_get0_data(const ASN1_STRING *text)
    int ASN1_STRING_length(const ASN1_STRING *text)
    void X509_free(X509 *certificate)
    # lists of what an authority has revoked
    ctypedef struct X509_CRL:
        pass
    unsigned long X509_V_FLAG_CRL_CHECK, X509_V_FLAG_CRL_CHECK_ALL
    int X509_STORE_add_crl(X509_STORE *store, X509_CRL *revoked)
    int X509_STORE_set_flags(X509_STORE *store, unsigned long flags)
    void X509_CRL_free(X509_CRL *revoked)
    int X509_STORE_add_cert(X509_STORE *store, X509 *certificate)
    # as a listener verifies a client (tls.shown)
    ctypedef struct X509_STORE_CTX:
        pass
    ctypedef struct STACK_OF_X509 "STACK_OF(X509)":
        pass
    X509_STORE *X509_STORE_new()
    void X509_STORE_free(X509_STORE *store)
    X509_STORE_CTX *X509_STORE_CTX_new()
    void X509_STORE_CTX_free(X509_STORE_CTX *context)
    int X509_STORE_CTX_init(
        X509_STORE_CTX *context, X509_STORE *store, X509 *certificate, STACK_OF_X509 *others
    )
    int X509_STORE_CTX_set_default(X509_STORE_CTX *context, const char *name)
    int X509_verify_cert(X509_STORE_CTX *context)
    int X509_STORE_CTX_get_error(X509_STORE_CTX *context)
    const char *X509_verify_cert_error_string(long error)
    STACK_OF_X509 *sk_X509_new_null()
    int sk_X509_push(STACK_OF_X509 *stack, X509 *certificate)
    void sk_X509_pop_free(STACK_OF_X509 *stack, void (*drop)(X509 *certificate) noexcept nogil)

cdef extern from "<openssl/x509v3.h>" nogil:
    unsigned int X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
    ctypedef struct GENERAL_NAMES:
        pass
    ctypedef struct GENERAL_NAME:
        pass
    int GEN_DNS, GEN_EMAIL, GEN_URI, GEN_IPADD
    int sk_GENERAL_NAME_num(const GENERAL_NAMES *names)
    GENERAL_NAME *sk_GENERAL_NAME_value(const GENERAL_NAMES *names, int at)
    void *GENERAL_NAME_get0_value(const GENERAL_NAME *name, int *kind)
    void GENERAL_NAMES_free(GENERAL_NAMES *names)
    int X509_check_host(X509 *certificate, const char *name, size_t size, unsigned int flags, char **peer)
    int X509_check_ip_asc(X509 *certificate, const char *address, unsigned int flags)

cdef extern from "<openssl/bio.h>" nogil:
    ctypedef struct BIO_METHOD:
        pass
    int BIO_CTRL_FLUSH, BIO_FLAGS_READ, BIO_FLAGS_WRITE, BIO_FLAGS_SHOULD_RETRY, BIO_TYPE_SOURCE_SINK
    BIO *BIO_new(const BIO_METHOD *method)
    BIO *BIO_new_mem_buf(const void *at, int size)
    int BIO_free(BIO *bio)
    const BIO_METHOD *BIO_s_mem()
    long BIO_get_mem_data(BIO *bio, char **at)
    void BIO_set_data(BIO *bio, void *data)
    void *BIO_get_data(BIO *bio)
    void BIO_set_init(BIO *bio, int ready)
    void BIO_set_flags(BIO *bio, int flags)
    void BIO_clear_retry_flags(BIO *bio)
    int BIO_get_new_index()
    BIO_METHOD *BIO_meth_new(int kind, const char *name)
    int BIO_meth_set_read(BIO_METHOD *method, int (*read)(BIO *bio, char *to, int size) noexcept nogil)
    int BIO_meth_set_write(
        BIO_METHOD *method, int (*write)(BIO *bio, const char *at, int size) noexcept nogil
    )
    int BIO_meth_set_ctrl(
        BIO_METHOD *method, long (*ctrl)(BIO *bio, int what, long number, void *at) noexcept nogil
    )

cdef extern from "<openssl/pem.h>" nogil:
    X509 *PEM_read_bio_X509(BIO *bio, X509 **to, void *password_callback, void *password)
    X509_CRL *PEM_read_bio_X509_CRL(BIO *bio, X509_CRL **to, void *password_callback, void *password)
    EVP_PKEY *PEM_read_bio_PrivateKey(BIO *bio, EVP_PKEY **to, void *password_callback, void *password)

cdef extern from "<openssl/ssl.h>" nogil:
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL_METHOD:
        pass
    ctypedef struct SSL_SESSION:
        pass
    int SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, SSL_MODE_RELEASE_BUFFERS
    uint64_t SSL_OP_NO_RENEGOTIATION, SSL_OP_NO_COMPRESSION, SSL_OP_NO_TICKET
    long SSL_SESS_CACHE_OFF, SSL_SESS_CACHE_CLIENT, SSL_SESS_CACHE_NO_INTERNAL
    int SSL_VERIFY_NONE, SSL_VERIFY_PEER, SSL_VERIFY_FAIL_IF_NO_PEER_CERT
    int SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN
    int SSL_R_HTTP_REQUEST, SSL_R_WRONG_VERSION_NUMBER, SSL_R_UNSUPPORTED_PROTOCOL
    int SSL_R_CERTIFICATE_VERIFY_FAILED, SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, SSL_R_NO_SHARED_CIPHER
    int SSL_R_UNEXPECTED_EOF_WHILE_READING, SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE
    int SSL_R_NO_APPLICATION_PROTOCOL
    int SSL_AD_REASON_OFFSET
    int SSL_SENT_SHUTDOWN, SSL_RECEIVED_SHUTDOWN
    int SSL_TLSEXT_ERR_OK, SSL_TLSEXT_ERR_ALERT_FATAL, SSL_TLSEXT_ERR_NOACK
    int TLSEXT_NAMETYPE_host_name
    const SSL_METHOD *TLS_server_method()
    const SSL_METHOD *TLS_client_method()
    SSL_CTX *SSL_CTX_new(const SSL_METHOD *method)
    void SSL_CTX_free(SSL_CTX *context)
    int SSL_CTX_up_ref(SSL_CTX *context)
    long SSL_CTX_set_mode(SSL_CTX *context, long mode)
    uint64_t SSL_CTX_set_options(SSL_CTX *context, uint64_t options)
    long SSL_CTX_set_session_cache_mode(SSL_CTX *context, long mode)
    long SSL_CTX_set_timeout(SSL_CTX *context, long seconds)
    int SSL_CTX_set_num_tickets(SSL_CTX *context, size_t count)
    int SSL_CTX_set_session_id_context(SSL_CTX *context, const unsigned char *at, unsigned int size)
    int SSL_CTX_set_min_proto_version(SSL_CTX *context, int version)
    int SSL_CTX_set_max_proto_version(SSL_CTX *context, int version)
    int SSL_CTX_set_cipher_list(SSL_CTX *context, const char *ciphers)
    int SSL_CTX_set1_groups_list(SSL_CTX *context, const char *groups)
    void SSL_CTX_set_read_ahead(SSL_CTX *context, int yes)
    int SSL_CTX_use_certificate(SSL_CTX *context, X509 *certificate)
    int SSL_CTX_use_PrivateKey(SSL_CTX *context, EVP_PKEY *key)
    int SSL_CTX_check_private_key(const SSL_CTX *context)
    long SSL_CTX_add1_chain_cert(SSL_CTX *context, X509 *certificate)
    X509_STORE *SSL_CTX_get_cert_store(const SSL_CTX *context)
    void SSL_CTX_set1_cert_store(SSL_CTX *context, X509_STORE *store)
    ctypedef struct X509_NAMES "STACK_OF(X509_NAME)":
        pass
    X509_NAMES *SSL_CTX_get_client_CA_list(const SSL_CTX *context)
    X509_NAMES *SSL_dup_CA_list(const X509_NAMES *names)
    void SSL_CTX_set_client_CA_list(SSL_CTX *context, X509_NAMES *names)
    int SSL_CTX_add_client_CA(SSL_CTX *context, X509 *authority)
    ctypedef int (*verify_fn "SSL_verify_cb")(int good, void *store) noexcept nogil
    void SSL_CTX_set_verify(SSL_CTX *context, int mode, verify_fn callback)
    int SSL_CTX_set_tlsext_servername_callback(
        SSL_CTX *context, int (*choose)(SSL *ssl, int *alert, void *argument) noexcept nogil
    )
    int SSL_CTX_set_ciphersuites(SSL_CTX *context, const char *suites)
    long SSL_CTX_set_tlsext_status_cb(SSL_CTX *context, int (*callback)(SSL *, void *) noexcept nogil)
    long SSL_CTX_set_tlsext_status_arg(SSL_CTX *context, void *argument)
    long SSL_set_tlsext_status_ocsp_resp(SSL *ssl, unsigned char *response, long size)
    X509 *SSL_CTX_get0_certificate(const SSL_CTX *context)
    void *OPENSSL_malloc(size_t size)
    void SSL_get0_alpn_selected(const SSL *ssl, const unsigned char **name, unsigned int *size)
    void SSL_CTX_set_alpn_select_cb(
        SSL_CTX *context,
        int (*choose)(
            SSL *ssl, const unsigned char **out, unsigned char *out_size, const unsigned char *offered,
            unsigned int size, void *argument
        ) noexcept nogil,
        void *argument
    )
    int SSL_CTX_set_tlsext_ticket_key_evp_cb(
        SSL_CTX *context,
        int (*key)(
            SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
            int encrypt
        ) noexcept nogil
    )
    int SSL_CTX_set_app_data(SSL_CTX *context, void *data)
    void *SSL_CTX_get_app_data(const SSL_CTX *context)
    SSL *SSL_new(SSL_CTX *context)
    void SSL_free(SSL *ssl)
    int SSL_set_app_data(SSL *ssl, void *data)
    void *SSL_get_app_data(const SSL *ssl)
    SSL_CTX *SSL_get_SSL_CTX(const SSL *ssl)
    SSL_CTX *SSL_set_SSL_CTX(SSL *ssl, SSL_CTX *context)
    void SSL_set_bio(SSL *ssl, BIO *reading, BIO *writing)
    void SSL_set_accept_state(SSL *ssl)
    int SSL_do_handshake(SSL *ssl)
    int SSL_read(SSL *ssl, void *to, int size)
    int SSL_write(SSL *ssl, const void *at, int size)
    int SSL_has_pending(const SSL *ssl)
    int SSL_shutdown(SSL *ssl)
    int SSL_session_reused(const SSL *ssl)
    int SSL_version(const SSL *ssl)
    const int TLS1_3_VERSION
    int SSL_get_error(const SSL *ssl, int result)
    const char *SSL_get_servername(const SSL *ssl, int kind)
    X509 *SSL_get_certificate(const SSL *ssl)
    # as a client
    void SSL_CTX_sess_set_new_cb(SSL_CTX *context, int (*keep)(SSL *ssl, SSL_SESSION *session) noexcept nogil)
    int SSL_set_session(SSL *ssl, SSL_SESSION *session)
    void SSL_SESSION_free(SSL_SESSION *session)
    void SSL_set_connect_state(SSL *ssl)
    long SSL_set_tlsext_host_name(SSL *ssl, const char *name)
    int SSL_set1_host(SSL *ssl, const char *name)
    void SSL_set_hostflags(SSL *ssl, unsigned int flags)
    X509_VERIFY_PARAM *SSL_get0_param(SSL *ssl)
    long SSL_get_verify_result(const SSL *ssl)
    int SSL_set_alpn_protos(SSL *ssl, const unsigned char *protocols, unsigned int size)
    void SSL_set_shutdown(SSL *ssl, int how)
    X509 *SSL_get0_peer_certificate(const SSL *ssl)
    int SSL_is_server(const SSL *ssl)
