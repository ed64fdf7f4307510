// Package seal keeps secrets that people entrust to the gateway, such as credentials of providers, so that whoever reads the store
// without the key-encryption key learns nothing. It is envelope encryption: values are sealed under a keyset (AES-256-GCM, Tink),
// the keyset is wrapped by a key-encryption key (KEK) and stands beside them. It knows neither what the values are for nor which
// database keeps them.
package seal

import (
	"context"
	"errors"
	"time"
)

// A Purpose is what a value is for. Values of one purpose are refused for every other.
type Purpose string

// The purposes.
const (
	Credential Purpose = "credential" // the api key of a provider
	Header     Purpose = "header"     // of requests to a provider
	Proxy      Purpose = "proxy"      // the address of a proxy, with its password
	Webhook    Purpose = "webhook"    // what notices are signed with
	SignIn     Purpose = "sign_in"    // the client secret of an OpenID provider
	TOTP       Purpose = "totp"       // the seed of an account's one-time codes
)

// What a Store answers beside values. Every other error means that the store could not do its work.
var (
	ErrNotFound = errors.New("there is no such sealed value")
	ErrExists   = errors.New("the id of the sealed value is taken")
	ErrVersion  = errors.New("the keyset was changed since it was read")
)

// A Value is one sealed value as it is kept.
type Value struct {
	ID      string
	Purpose Purpose
	Object  string // whose it is: providers/openai/api_key
	Key     uint32 // the key of the keyset that it is sealed under
	Sealed  []byte
	Created time.Time
	Unused  time.Time // since when nothing uses it; zero: something does
}

// A Keyset is the wrapped keyset as it is kept. There is one.
type Keyset struct {
	Version int64  // drawn anew at each change, so that one that came to nothing has a version that no other has; not 0
	KEK     string // which key-encryption key wrapped it, as KEK.Name has it
	Wrapped []byte
}

// A Store keeps sealed values and the keyset. Each method is one transaction, or joins the one that its context carries. Values given
// and returned belong to the caller.
type Store interface {
	// Keyset gives the keyset; nil and no error where there is none yet.
	Keyset(ctx context.Context) (*Keyset, error)

	// PutKeyset replaces the keyset of the version was; 0: there is none yet. ErrVersion where another has been faster.
	PutKeyset(ctx context.Context, k *Keyset, was int64) error

	// Put adds a value that was sealed under this version of the keyset. ErrExists; ErrVersion where the keyset has changed, which it
	// then does not until the transaction ends.
	Put(ctx context.Context, v *Value, keyset int64) error

	// Reseal replaces Key and Sealed of a value that still is under the key was. A value that is not, or is gone, stays so. ErrVersion, as
	// with Put.
	Reseal(ctx context.Context, v *Value, was uint32, keyset int64) error

	// Get reads a value. ErrNotFound.
	Get(ctx context.Context, id string) (*Value, error)

	// Stale lists values that are not under a key, at most so many.
	Stale(ctx context.Context, key uint32, most int) ([]Value, error)

	// Delete removes a value, if it is there.
	Delete(ctx context.Context, id string) error

	// Use says which values of the purposes are in use at a time. Others are unused since then, if they were not before; those unused
	// since before keep are removed.
	Use(ctx context.Context, purposes []Purpose, ids []string, now, keep time.Time) error
}

// A KEK wraps keysets.
type KEK interface {
	// Wrap and Unwrap may ask another program or machine, within bounds of their own.
	Wrap(ctx context.Context, plain []byte) ([]byte, error)
	Unwrap(ctx context.Context, wrapped []byte) ([]byte, error)
	// Name tells one KEK from another without giving it away.
	Name() string
	// Cure says where to find the KEK that a store needs.
	Cure() string
}
