package compute

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// How often machines' certificates are looked at, and how much of their life is left when they are replaced.
const (
	renewEvery  = 6 * time.Hour
	renewBefore = 120 * 24 * time.Hour
)

// bucketCerts: machine id -> the certificate in PEM form that it was given since it was made.
const bucketCerts = "compute cert"

// Where a machine has its certificate chain and key.
const (
	certPath = "/etc/lido/tls/cert.pem"
	keyPath  = "/etc/lido/tls/key.pem"
)

// renewScript puts a chain and a key in place and has JupyterHub use them. People's servers live on when it restarts.
const renewScript = `set -e
umask 077
cd /etc/lido/tls
cat >.new
sed -n '/BEGIN CERTIFICATE/,/END CERTIFICATE/p' .new >.cert
sed -n '/BEGIN .*PRIVATE KEY/,/END .*PRIVATE KEY/p' .new >.key
rm .new
chmod 644 .cert
mv .key key.pem
mv .cert cert.pem
systemctl try-restart jupyterhub.service >/dev/null 2>&1 || true`

// renewCerts replaces machines' certificates in good time, for as long as the room is open.
func (r *Room) renewCerts() {
	for {
		if err := r.renewDue(r.ctx, r.Now()); err != nil && r.ctx.Err() == nil {
			r.Log.Error("certificates of machines could not be renewed; trying again in some hours", "err", err)
		}
		if sleep(r.ctx, renewEvery) != nil {
			return
		}
	}
}

// renewDue replaces the certificates of running machines that end soon after now.
func (r *Room) renewDue(ctx context.Context, now time.Time) error {
	infos, err := r.Engine.List(ctx)
	if err != nil {
		return err
	}
	given, err := r.givenCerts(ctx, infos)
	if err != nil {
		return err
	}
	for _, m := range infos {
		names := namesDue(currentCert(m.Spec, given[m.ID]), now)
		if m.State != machine.Running || len(names) == 0 {
			continue
		}
		if err := r.renew(ctx, m.ID, names); err != nil {
			r.Log.Warn("certificate not renewed; trying again in some hours", "machine", m.ID, "err", err)
		}
	}
	return nil
}

// givenCerts returns the certificates given since their machines were made, and forgets those of machines that are gone.
func (r *Room) givenCerts(ctx context.Context, infos []machine.Info) (map[string][]byte, error) {
	there, given := map[string]bool{}, map[string][]byte{}
	for _, m := range infos {
		there[m.ID] = true
	}
	err := r.Store.Update(ctx, func(tx *store.Tx) error {
		clear(given)
		entries, err := tx.ListKV(bucketCerts)
		for _, e := range entries {
			if there[e.Key] {
				given[e.Key] = e.Value
			} else if err := tx.DeleteKV(bucketCerts, e.Key); err != nil {
				return err
			}
		}
		return err
	})
	return given, err
}

// currentCert is the certificate that a machine was given last: since, or with its first files.
func currentCert(spec machine.Spec, since []byte) []byte {
	if since != nil {
		return since
	}
	for _, f := range spec.Files {
		if f.Path == certPath {
			return f.Data
		}
	}
	return nil
}

// namesDue returns the names of a certificate that is to be replaced, none if it is good for long or no certificate.
func namesDue(chain []byte, now time.Time) []string {
	block, _ := pem.Decode(chain)
	if block == nil {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || cert.NotAfter.Sub(now) > renewBefore {
		return nil
	}
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

func (r *Room) renew(ctx context.Context, id string, names []string) error {
	cert, key, err := r.Keys.ServerCert(names...)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	code, err := r.Engine.Exec(ctx, id, machine.Command{Args: []string{"/bin/sh", "-c", renewScript},
		Stdin: bytes.NewReader(slices.Concat(cert, key)), Stdout: &out, Stderr: &out})
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s", code, out.String())
	}
	if err != nil {
		return err
	}
	r.Log.Info("certificate renewed", "machine", id)
	return r.Store.Update(ctx, func(tx *store.Tx) error { return tx.SetKV(bucketCerts, id, cert) })
}
