package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// LoadCertificate reads a PEM chain, leaf first, and its PEM key.
func LoadCertificate(certPEM, keyPEM []byte) (stdtls.Certificate, error) {
	c, err := stdtls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return stdtls.Certificate{}, fmt.Errorf("load certificate: %w", err)
	}
	return c, nil
}

// LoadPool reads trusted roots. Every block has to be a certificate: a root
// that is skipped in silence would be missed later.
func LoadPool(pemBytes []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	begun := bytes.Count(pemBytes, []byte("-----BEGIN "))
	for {
		block, rest := pem.Decode(pemBytes)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("load trusted roots: block %d is %q, not a certificate", n+1, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("load trusted roots: parse certificate %d: %w", n+1, err)
		}
		pool.AddCert(c)
		n++
		pemBytes = rest
	}
	if n == 0 {
		return nil, errors.New("load trusted roots: there is no certificate")
	}
	if n != begun { // pem.Decode skips what is damaged
		return nil, fmt.Errorf("load trusted roots: %d of %d blocks are damaged", begun-n, begun)
	}
	return pool, nil
}
