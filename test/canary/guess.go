package canary

import (
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // what somebody may have used
	"crypto/sha1" //nolint:gosec // what somebody may have used
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"regexp"
	"slices"
)

// Guesser tries whether a weak value can be found from what is published about it.
type Guesser struct {
	// Known are texts that everybody knows and that may have been hashed with the value or
	// used as a key: references, names, labels.
	Known []string
	// Derive makes what the product would publish of a value if its key were the given one.
	Derive func(key []byte, value string) []string
}

// window is how much of a digest must be published to count: nobody meets so much by chance.
const window = 16

var (
	hexRuns    = regexp.MustCompile(`[0-9a-fA-F]{16,}`)
	base64Runs = regexp.MustCompile(`[0-9A-Za-z+/_-]{16,}`)
)

// Guess returns those of values whose digest by a plain hash, or by one with a key that is
// empty or known, is published, in hexadecimal or base64, whole or in part.
func (g Guesser) Guess(published string, values []string) []string {
	in := windows(published)
	var found []string
	for _, value := range values {
		if slices.ContainsFunc(g.digests(value), func(digest string) bool { return in[digest] }) {
			found = append(found, value)
		}
	}
	return found
}

func windows(text string) map[string]bool {
	in := map[string]bool{}
	for _, runs := range []*regexp.Regexp{hexRuns, base64Runs} {
		for _, run := range runs.FindAllString(text, -1) {
			for i := range len(run) - window + 1 {
				in[run[i:i+window]] = true
			}
		}
	}
	return in
}

// digests are the first characters of all that a value may have been made into.
func (g Guesser) digests(value string) []string {
	var out []string
	add := func(sum []byte) {
		text := hex.EncodeToString(sum)
		out = append(out, text[:window], base64.StdEncoding.EncodeToString(sum)[:window], base64.URLEncoding.EncodeToString(sum)[:window])
	}
	inputs := []string{value, value + "\n"}
	keys := [][]byte{nil, make([]byte, 32)}
	for _, known := range g.Known {
		length := string(binary.BigEndian.AppendUint64(nil, uint64(len(known))))
		inputs = append(inputs, known+value, known+":"+value, known+"="+value, known+"="+value+"\n", known+"\x00"+value, length+known+value)
		keys = append(keys, []byte(known))
	}
	for _, input := range inputs {
		for _, sum := range plain(input) {
			add(sum)
		}
		for _, key := range keys {
			add(keyed(sha256.New, key, input))
		}
	}
	if g.Derive != nil {
		for _, key := range keys {
			for _, text := range g.Derive(key, value) {
				for _, run := range hexRuns.FindAllString(text, -1) {
					out = append(out, run[:window])
				}
			}
		}
	}
	return out
}

func plain(input string) [][]byte {
	m, one, two, five := md5.Sum([]byte(input)), sha1.Sum([]byte(input)), sha256.Sum256([]byte(input)), sha512.Sum512([]byte(input)) //nolint:gosec // what somebody may have used
	return [][]byte{m[:], one[:], two[:], five[:]}
}

func keyed(h func() hash.Hash, key []byte, input string) []byte {
	mac := hmac.New(h, key)
	mac.Write([]byte(input))
	return mac.Sum(nil)
}

// PINs are all numbers of four digits.
func PINs() []string {
	all := make([]string, 10_000)
	for i := range all {
		all[i] = fmt.Sprintf("%04d", i)
	}
	return all
}
