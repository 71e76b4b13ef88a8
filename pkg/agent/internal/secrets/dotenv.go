package secrets

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

const maxDotenv = 1 << 20

// Dotenv resolves references from a file of KEY=value lines: for laptops and tests. The
// file is read again when its time or size changed. It must be a regular file of at
// most 1 MiB that only its owner can read (0600 or stricter).
//
// op://vault/item/[section/]field is looked up as <ITEM>_<FIELD>, else <FIELD>;
// akv://vault/name as <NAME>: upper case, with _ for what is no letter or digit. An
// attribute of 1Password other than value is appended: <ITEM>_<FIELD>_OTP. Vaults,
// sections and versions don't count.
type Dotenv struct {
	path string

	mu     sync.Mutex
	stamp  stamp
	readAt time.Time
	values map[string]Value
	// generation counts the contents that were seen: two may have one stamp.
	generation int
}

// Times of files are coarser than changes: a file that was this young when it was read may
// have changed since without a trace.
const tooYoung = 2 * time.Second

type stamp struct {
	modified time.Time
	size     int64
}

var _ Provider = (*Dotenv)(nil)

// NewDotenv makes a provider of the file at path, which is not read before Resolve.
func NewDotenv(path string) *Dotenv { return &Dotenv{path: path} }

// Name implements Provider.
func (*Dotenv) Name() string { return "dotenv" }

// Resolve implements Provider. A file that is absent, unsafe or can't be parsed fails all
// references; values that were read before are not used then.
func (d *Dotenv) Resolve(ctx context.Context, refs []string) (map[string]Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.load(); err != nil {
		return nil, err
	}
	results := make(map[string]Result, len(refs))
	for _, ref := range refs {
		results[ref] = d.lookup(ref)
	}
	return results, nil
}

func (d *Dotenv) lookup(ref string) Result {
	parsed, err := api.ParseReference(ref)
	if err != nil {
		return Invalid(err)
	}
	keys := dotenvKeys(parsed)
	for _, key := range keys {
		value, found := d.values[key]
		if found && value.IsEmpty() {
			return Result{Err: missing(ref, fmt.Errorf("%s in %s: %w", key, d.path, ErrEmpty))}
		}
		if found {
			return Result{Value: value, Version: d.stamp.version() + "-" + strconv.Itoa(d.generation)}
		}
	}
	return Result{Err: missing(ref, fmt.Errorf("%s has no %s: %w", d.path, strings.Join(keys, " and no "), ErrNotFound))}
}

func dotenvKeys(ref api.SecretReference) []string {
	if ref.Scheme == api.SchemeAzure {
		return []string{dotenvKey(ref.Secret)}
	}
	field := dotenvKey(ref.Field)
	if ref.Attribute != "" && ref.Attribute != "value" {
		field += "_" + dotenvKey(ref.Attribute)
	}
	return []string{dotenvKey(ref.Item) + "_" + field, field}
}

func dotenvKey(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(name))
}

func (s stamp) version() string {
	return strconv.FormatInt(s.modified.UnixNano(), 36) + "-" + strconv.FormatInt(s.size, 36)
}

// load reads the file when it changed.
func (d *Dotenv) load() error {
	file, info, err := OpenPrivate(d.path)
	if err != nil {
		return d.failed(err)
	}
	defer file.Close() //nolint:errcheck // nothing was written
	now, readAt := stamp{info.ModTime(), info.Size()}, time.Now()
	if d.values != nil && now == d.stamp && d.readAt.Sub(now.modified) > tooYoung {
		return nil
	}
	data, err := ReadBounded(file, maxDotenv)
	if err != nil {
		return d.failed(err)
	}
	values, err := parseDotenv(string(data))
	if err != nil {
		return d.failed(err)
	}
	if !maps.EqualFunc(values, d.values, Value.Equal) {
		d.generation++
	}
	d.values, d.stamp, d.readAt = values, now, readAt
	return nil
}

func (d *Dotenv) failed(err error) error {
	return &Error{Class: api.Waiting, Reason: api.ReasonSecretMissing, Err: fmt.Errorf("%s: %w", d.path, err)}
}
