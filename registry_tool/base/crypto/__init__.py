"""Certificates and signatures: the only importer of ``cryptography``, whose parts are imported where they are used."""
