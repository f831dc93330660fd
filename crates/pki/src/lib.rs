//! Keys, certificates, JOSE and TLS configurations; the one place that picks the crypto provider.
