package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"
)

// argon2id's cost: about 50 ms and 32 MiB for one guess on a small server.
const (
	hashMemory = 32 * 1024 // KiB
	hashTime   = 2
	hashLanes  = 1
	hashLen    = 32
)

// hash makes a password's record in the PHC string format.
func (s *Service) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, 16)
	rand.Read(salt)
	release, err := s.hashSlot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	sum := argon2.IDKey([]byte(password), salt, hashTime, hashMemory, hashLanes, hashLen)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemory, hashTime, hashLanes, b64.EncodeToString(salt), b64.EncodeToString(sum)), nil
}

// verify says whether the password has this record. An empty record never fits, and takes as long.
func (s *Service) verify(ctx context.Context, record, password string) (bool, error) {
	known := record != ""
	if !known {
		record = "$argon2id$v=19$m=32768,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	}
	h, err := parseHash(record)
	if err != nil {
		return false, err
	}
	release, err := s.hashSlot(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	sum := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.lanes, uint32(len(h.sum)))
	return subtle.ConstantTimeCompare(sum, h.sum) == 1 && known, nil
}

type phc struct {
	memory, time uint32
	lanes        uint8
	salt, sum    []byte
}

func parseHash(record string) (phc, error) {
	var h phc
	var version int
	var rest string
	if _, err := fmt.Sscanf(record, "$argon2id$v=%d$m=%d,t=%d,p=%d$%s", &version, &h.memory, &h.time, &h.lanes, &rest); err != nil {
		return h, fmt.Errorf("password record: %w", err)
	}
	if version != argon2.Version {
		return h, fmt.Errorf("password record: argon2 version %d is not known", version)
	}
	for i := range len(rest) {
		if rest[i] == '$' {
			var err1, err2 error
			h.salt, err1 = base64.RawStdEncoding.DecodeString(rest[:i])
			h.sum, err2 = base64.RawStdEncoding.DecodeString(rest[i+1:])
			return h, errors.Join(err1, err2)
		}
	}
	return h, errors.New("password record: no sum")
}

func (s *Service) hashSlot(ctx context.Context) (release func(), err error) {
	select {
	case s.hashing <- struct{}{}:
		return func() { <-s.hashing }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// randomPassword has 130 bits, in letters and digits that no shell minds.
func randomPassword() string { return rand.Text() }
