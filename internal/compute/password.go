package compute

import (
	"fmt"
	"sync"

	"github.com/go-crypt/crypt/algorithm/shacrypt"
)

// passwordHashes makes crypt(5) hashes of passwords. Hashing is slow on purpose, and a set's machines share a password,
// so hashes are kept in memory, one for each set, and begun when the set is wished for.
type passwordHashes struct {
	mu    sync.Mutex
	known map[[2]string]string // set's key, password -> hash
}

// hashRounds is ten times crypt's default: about 20 ms, at a login and once for a set.
const hashRounds = 50000

func (p *passwordHashes) get(setKey, password string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := [2]string{setKey, password}
	if h := p.known[key]; h != "" {
		return h, nil
	}
	hasher, err := shacrypt.New(shacrypt.WithSHA512(), shacrypt.WithIterations(hashRounds))
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	digest, err := hasher.Hash(password)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	if len(p.known) > 1000 {
		p.known = nil
	}
	if p.known == nil {
		p.known = map[[2]string]string{}
	}
	p.known[key] = digest.Encode()
	return p.known[key], nil
}
