package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
)

// FetchPinned connects to a lido server at address (HOST:PORT) and returns its CA's certificate in PEM form, provided
// that the CA's fingerprint is the given one and that the server proves to hold a certificate of it for that host.
// Nothing but the fingerprint is trusted.
func FetchPinned(ctx context.Context, address, fingerprint string) ([]byte, error) {
	want, err := NormalFingerprint(fingerprint)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("server address %q: want HOST:PORT: %w", address, err)
	}
	var ca *x509.Certificate
	verify := func(cs tls.ConnectionState) error {
		ca, err = verifyPinned(cs.PeerCertificates, host, want)
		return err
	}
	// The chain is verified in VerifyConnection, against the pinned CA instead of the system's.
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, VerifyConnection: verify, MinVersion: tls.VersionTLS12, ServerName: host}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("server %s: %w", address, err)
	}
	conn.Close()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}), nil
}

func verifyPinned(chain []*x509.Certificate, host, want string) (*x509.Certificate, error) {
	if len(chain) == 0 {
		return nil, fmt.Errorf("the server sent no certificate")
	}
	for _, c := range chain[1:] {
		if Fingerprint(c) != want {
			continue
		}
		roots := x509.NewCertPool()
		roots.AddCert(c)
		if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			return nil, fmt.Errorf("the server's certificate is not good for %s: %w", host, err)
		}
		return c, nil
	}
	last := chain[len(chain)-1]
	return nil, fmt.Errorf("the server's CA has fingerprint %s, not the given %s: this is another lido, or someone is in between; compare with what `lido up` printed", Fingerprint(last), want)
}
