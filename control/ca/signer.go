package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"time"

	"github.com/leno-mesh/leno/lib/durable"
	"github.com/leno-mesh/leno/lib/spiffe"
)

// maxPEM bounds the files that are read.
const maxPEM = 1 << 20

// makeSigner makes a CA certificate with a new P-256 key, signed by parent or,
// if that is empty, by itself.
func makeSigner(parent signer, domain, name string, life time.Duration, pathLen int, now time.Time) (signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return signer{}, err
	}
	template := &x509.Certificate{
		SerialNumber: newSerial(),
		Subject:      pkix.Name{CommonName: name + " " + domain},
		URIs:         []*url.URL{{Scheme: "spiffe", Host: domain}},
		NotBefore:    now.Add(-backdate), NotAfter: now.Add(life),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true,
		MaxPathLen: pathLen, MaxPathLenZero: pathLen == 0,
	}
	if parent.cert == nil {
		parent = signer{cert: template, key: key}
	} else if template.NotAfter.After(parent.cert.NotAfter) {
		template.NotAfter = parent.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		return signer{}, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return signer{}, err
	}
	return signer{cert: cert, key: key}, nil
}

// newSerial returns 128 random bits, positive and never 0 (RFC 5280, section
// 4.1.2.2: at most 20 octets).
func newSerial() *big.Int {
	var b [17]byte
	rand.Read(b[1:]) // never fails
	b[0] = 1
	return new(big.Int).SetBytes(b[:])
}

// checkSigner says why a certificate cannot sign others now.
func checkSigner(c *x509.Certificate, now time.Time) error {
	switch {
	case !c.IsCA || !c.BasicConstraintsValid:
		return errors.New("the certificate is not a CA")
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("the certificate may not sign certificates")
	case now.After(c.NotAfter):
		return fmt.Errorf("the certificate expired at %s", c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore):
		return fmt.Errorf("the certificate is not valid before %s; compare the clock", c.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// trustDomainOf returns the trust domain that a CA certificate names.
func trustDomainOf(c *x509.Certificate) (string, error) {
	if len(c.URIs) != 1 {
		return "", fmt.Errorf("the certificate has %d URI names, exactly one is required", len(c.URIs))
	}
	id, err := spiffe.Parse(c.URIs[0].String())
	if err != nil {
		return "", err
	}
	if id.Path() != "" {
		return "", fmt.Errorf("the certificate names the workload %s, not a trust domain", id)
	}
	return id.TrustDomain(), nil
}

// readSigner reads a file with one certificate and its key.
func readSigner(path string) (signer, error) {
	data, err := durable.ReadPrivate(path, maxPEM)
	if err != nil {
		return signer{}, err
	}
	s, err := parseSigner(data, data)
	if err != nil {
		return signer{}, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return s, nil
}

func readSignerFiles(certPath, keyPath string) (signer, error) {
	cert, err := os.ReadFile(certPath)
	if err != nil {
		return signer{}, fmt.Errorf("read root certificate: %w", err)
	}
	key, err := durable.ReadPrivate(keyPath, maxPEM)
	if err != nil {
		return signer{}, fmt.Errorf("read root key: %w", err)
	}
	s, err := parseSigner(cert, key)
	if err != nil {
		return signer{}, fmt.Errorf("%s and %s: %w", certPath, keyPath, err)
	}
	return s, nil
}

func parseSigner(certPEM, keyPEM []byte) (signer, error) {
	certs, err := parseCertificates(certPEM)
	if err != nil {
		return signer{}, err
	}
	if len(certs) != 1 {
		return signer{}, fmt.Errorf("there are %d certificates, exactly one is required", len(certs))
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return signer{}, err
	}
	public, ok := certs[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(key.Public()) {
		return signer{}, errors.New("the key does not belong to the certificate")
	}
	return signer{cert: certs[0], key: key}, nil
}

// parseCertificates reads all certificates and skips private keys.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, c)
	}
	if len(bytes.TrimSpace(data)) > 0 {
		return nil, errors.New("there is text after the last PEM block, perhaps a block that was cut off")
	}
	if len(certs) == 0 {
		return nil, errors.New("there is no certificate")
	}
	return certs, nil
}

func parseKey(data []byte) (crypto.Signer, error) {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return nil, errors.New("there is no private key")
		}
		data = rest
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, errors.New("the private key cannot be parsed")
		}
		if s, ok := key.(crypto.Signer); ok {
			return s, nil
		}
		return nil, errors.New("the private key cannot sign")
	}
}

func writeSigner(path string, s signer) error {
	key, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})
	data = append(data, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	return durable.WriteFile(path, data)
}
