package seal

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sluice/internal/atomicfile"
	"sluice/internal/llm"
)

// A localKEK is derived from a text that the process has.
type localKEK struct {
	aead       cipher.AEAD
	name, cure string
}

// FromText is the KEK that a configured text makes. The text must be hard to guess: that is checked where it is configured.
func FromText(text llm.Secret) (KEK, error) {
	return fromText(string(text), "give this replica the secrets.key of the first")
}

func fromText(text, cure string) (KEK, error) {
	key, err := hkdf.Key(sha256.New, []byte(text), nil, "sluice secrets: key-encryption key", 32)
	if err != nil {
		return nil, err
	}
	name, err := hkdf.Key(sha256.New, []byte(text), nil, "sluice secrets: name of the key-encryption key", 8)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &localKEK{gcm, "key " + hex.EncodeToString(name), cure}, nil
}

// FileName is the file of the data directory that holds a KEK of our own making.
const FileName = "secrets.key"

// FromFile is the KEK of the data directory, which is made where there is none.
func FromFile(dir string, random io.Reader) (KEK, error) {
	path := filepath.Join(dir, FileName)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = makeKey(path, random)
	}
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	key := strings.TrimSpace(string(text))
	if len(key) < 32 {
		return nil, fmt.Errorf("key-encryption key: %s holds fewer than 32 characters: put back the file that was there", path)
	}
	return fromText(key, "give this replica the file "+FileName+" of the first one's data directory, or set secrets.key or secrets.command to what the first has")
}

// makeKey writes a new key, whole or not at all. Of two processes that do so at once, one's is kept.
func makeKey(path string, random io.Reader) ([]byte, error) {
	raw := make([]byte, 32)
	if _, err := io.ReadFull(random, raw); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := atomicfile.Create(path, []byte(hex.EncodeToString(raw)+"\n")); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.ReadFile(path)
}

const keysetLabel = "sluice secrets: keyset"

// Wrap implements KEK.
func (k *localKEK) Wrap(_ context.Context, plain []byte) ([]byte, error) {
	return k.aead.Seal(nil, nil, plain, []byte(keysetLabel)), nil //nolint:gosec // the AEAD draws a nonce itself and takes none
}

// Unwrap implements KEK.
func (k *localKEK) Unwrap(_ context.Context, wrapped []byte) ([]byte, error) {
	plain, err := k.aead.Open(nil, nil, wrapped, []byte(keysetLabel))
	if err != nil {
		return nil, errors.New("it was changed, or the key-encryption key is another")
	}
	return plain, nil
}

// Name implements KEK.
func (k *localKEK) Name() string { return k.name }

// Cure implements KEK.
func (k *localKEK) Cure() string { return k.cure }

// A command is a KEK that another program has, such as the client of a key management service.
type command struct {
	args    []string
	timeout time.Duration
}

const (
	commandTime = 20 * time.Second
	commandMost = 64 << 10 // bytes of its output
)

// FromCommand is the KEK of a program. It is run without a shell, with one more argument: wrap or unwrap. It gets a keyset on its
// standard input and gives the wrapped, or the plain one, on its standard output; an exit code other than 0 is a failure.
func FromCommand(args []string) (KEK, error) {
	if len(args) == 0 || args[0] == "" {
		return nil, errors.New("the command is empty")
	}
	return &command{args, commandTime}, nil
}

// Wrap implements KEK.
func (c *command) Wrap(ctx context.Context, plain []byte) ([]byte, error) {
	return c.run(ctx, "wrap", plain)
}

// Unwrap implements KEK.
func (c *command) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	return c.run(ctx, "unwrap", wrapped)
}

// run runs the program. What it says on standard error is not repeated: it may hold what it was given.
func (c *command) run(ctx context.Context, form string, in []byte) ([]byte, error) {
	ctx, stop := context.WithTimeout(ctx, c.timeout)
	defer stop()
	cmd := exec.CommandContext(ctx, c.args[0], append(c.args[1:len(c.args):len(c.args)], form)...) //nolint:gosec // the configuration file names it, never the API
	out := &bounded{most: commandMost}
	cmd.Stdin, cmd.Stdout = bytes.NewReader(in), out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		switch {
		case out.over != nil:
			err = out.over
		case ctx.Err() != nil:
			err = fmt.Errorf("it did not end within %s", c.timeout)
		}
		return nil, fmt.Errorf("secrets.command %s %s: %w", c.args[0], form, err)
	}
	if out.b.Len() == 0 {
		return nil, fmt.Errorf("secrets.command %s %s: it gave nothing", c.args[0], form)
	}
	return out.b.Bytes(), nil
}

// Name implements KEK.
func (c *command) Name() string { return "command" }

// Cure implements KEK.
func (c *command) Cure() string { return "set secrets.command to the one that the first replica has" }

// bounded takes so many bytes and fails with more.
type bounded struct {
	b    bytes.Buffer
	most int
	over error // why no more was taken: the program itself may only tell that its pipe broke
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.b.Len()+len(p) > b.most {
		b.over = fmt.Errorf("it gave more than %d bytes", b.most)
		return 0, b.over
	}
	return b.b.Write(p)
}
