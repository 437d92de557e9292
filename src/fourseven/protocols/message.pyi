from enum import IntEnum

class CertificateFact(IntEnum):
    FACT_SUBJECT = 0
    FACT_ISSUER = 1
    FACT_FINGERPRINT = 2
    FACT_SERIAL = 3
    FACT_NAMES = 4
    CERTIFICATE_FACTS = 5
