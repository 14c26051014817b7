package storage

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// kind is what Azure says differently of shares and containers.
type kind struct {
	word, code string // as in messages, and in codes of errors
	service    string
	notIn      []string // kinds of accounts that have none
	rule       *regexp.Regexp
	shown      []string       // properties that lido sets and clients send back
	defaults   map[string]any // of properties
}

var shareKind = &kind{word: "share", code: "Share", service: "File", notIn: []string{"BlobStorage", "BlockBlobStorage"},
	rule: regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`),
	shown: []string{"lastModifiedTime", "leaseState", "leaseStatus", "shareUsageBytes", "version", "deleted", "deletedTime",
		"remainingRetentionDays", "accessTierChangeTime", "accessTierStatus", "snapshotTime"},
	defaults: map[string]any{"shareQuota": 5120, "enabledProtocols": "SMB", "accessTier": "TransactionOptimized"}}

var containerKind = &kind{word: "container", code: "Container", service: "Blob", notIn: []string{"FileStorage"},
	rule: regexp.MustCompile(`^([a-z0-9](-?[a-z0-9]){2,62}|\$root|\$web)$`),
	shown: []string{"lastModifiedTime", "leaseState", "leaseStatus", "leaseDuration", "hasImmutabilityPolicy", "hasLegalHold",
		"immutabilityPolicy", "legalHold", "version", "deleted", "deletedTime", "remainingRetentionDays"},
	defaults: map[string]any{"publicAccess": publicAccess[0], "defaultEncryptionScope": "$account-encryption-key", "denyEncryptionScopeOverride": false}}

// read takes what is shown only out of a wish, and reads the rest.
func (k *kind) read(a *arm.Admission, wish any) error {
	props := properties(a.Body)
	for _, name := range k.shown {
		delete(props, name)
	}
	return arm.Convert(a.Body, wish)
}

// admit completes a wish whose properties are good by the defaults, and tells whether a new one can be made.
func (k *kind) admit(a *arm.Admission) error {
	props := properties(a.Body)
	for name, v := range k.defaults {
		if props[name] == nil {
			props[name] = v
		}
	}
	if a.Old != nil {
		return nil
	}
	return k.admitNew(a.Tx, a.ID)
}

func (k *kind) admitName(name string) error {
	if k.rule.MatchString(name) {
		return nil
	}
	return arm.BadRequest("InvalidResourceName", "name", "The %s name '%s' is invalid. It has 3 to 63 lower-case letters, digits and single hyphens, and begins and ends with a letter or digit.", k.word, name)
}

// admitNew tells whether one can be made.
func (k *kind) admitNew(tx *store.Tx, id arm.ID) error {
	if err := k.admitName(id.Name()); err != nil {
		return err
	}
	doc, err := tx.Get(id.Parent().Parent().String())
	if err != nil {
		return err
	}
	var of struct{ Kind string }
	if err := arm.Decode(doc.Desired, &of); err != nil {
		return err
	}
	account, share := place(id)
	if slices.Contains(k.notIn, of.Kind) {
		return arm.BadRequest("FeatureNotSupportedForAccount", "", "%s is not supported for the account '%s' of kind %s. Use an account of kind StorageV2.", k.service, account, of.Kind)
	}
	busy, err := beingDeleted(tx, account, share)
	if err != nil || !busy {
		return err
	}
	return arm.Conflict(k.code+"BeingDeleted", "The specified %s is being deleted. Try operation later.", k.word)
}

func (k *kind) missing() error {
	return arm.Errorf(http.StatusNotFound, k.code+"NotFound", "The specified %s does not exist.", k.word)
}

// orMissing gives a handler Azure's own error for one that is not there.
func (k *kind) orMissing(h arm.Handler) arm.Handler {
	return func(ctx context.Context, req *arm.Request) (*arm.Response, error) {
		resp, err := h(ctx, req)
		if e := (*arm.Error)(nil); errors.As(err, &e) && e.Code == "ResourceNotFound" {
			return nil, k.missing()
		}
		return resp, err
	}
}
