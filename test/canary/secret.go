package canary

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
)

// Secret is a planted value.
type Secret struct {
	// Name is what a Hit says.
	Name string
	// Value is all of it.
	Value string
	// Cores are parts that are as unlikely as the whole and that no escaping changes:
	// letters and digits. They find what is left of a value that was cut or folded.
	Cores []string
}

// Word is a secret of 26 letters and digits.
func Word(name string) Secret {
	text := rand.Text()
	return Secret{Name: name, Value: text, Cores: []string{text}}
}

// Nasty is a secret that breaks every way of quoting by hand.
func Nasty(name string) Secret {
	first, second := rand.Text(), rand.Text()
	return Secret{Name: name, Value: "q'uo\"te$HOME`id`\\back " + first + "\nnew %41+<&> " + second + " ümlaut", Cores: []string{first, second}}
}

// Key is a secret of several lines, as PEM has them.
func Key(name string) Secret {
	s := Secret{Name: name}
	lines := []string{"-----BEGIN PRIVATE KEY-----"}
	for range 4 {
		core := rand.Text() + rand.Text()
		s.Cores = append(s.Cores, core)
		lines = append(lines, core+"+/"+rand.Text()[:8])
	}
	s.Value = strings.Join(append(lines, "-----END PRIVATE KEY-----"), "\n") + "\n"
	return s
}

// Forms are what the value may look like in a text, by the name of the form. Those of a
// part that is encoded together with what surrounds it hold what the part alone decides.
func (s Secret) Forms() map[string]string {
	forms := map[string]string{}
	for prefix, text := range s.parts() {
		forms[prefix+"raw"] = text
		forms[prefix+"URL query"] = url.QueryEscape(text)
		forms[prefix+"URL path"] = url.PathEscape(text)
		forms[prefix+"JSON"] = jsonText(text, true)
		forms[prefix+"JSON without HTML"] = jsonText(text, false)
		forms[prefix+"Go"] = inner(strconv.Quote(text))
		forms[prefix+"Go in ASCII"] = inner(strconv.QuoteToASCII(text))
		forms[prefix+"hex"] = hex.EncodeToString([]byte(text))
		forms[prefix+"HEX"] = strings.ToUpper(hex.EncodeToString([]byte(text)))
		for _, offset := range []int{0, 1, 2} {
			suffix := strconv.Itoa(offset)
			forms[prefix+"base64+"+suffix] = Base64(base64.RawStdEncoding, text, offset)
			forms[prefix+"base64url+"+suffix] = Base64(base64.RawURLEncoding, text, offset)
		}
	}
	return forms
}

func (s Secret) parts() map[string]string {
	parts := map[string]string{"": s.Value}
	for i, core := range s.Cores {
		parts["part "+strconv.Itoa(i)+": "] = core
	}
	return parts
}

// Base64 is the part of an encoding that text alone decides when it comes after so many
// bytes of something else, modulo 3.
func Base64(encoding *base64.Encoding, text string, offset int) string {
	encoded := encoding.EncodeToString(append(make([]byte, offset), text...))
	return encoded[(8*offset+5)/6 : 8*(offset+len(text))/6]
}

func jsonText(text string, escapeHTML bool) string { //nolint:revive // as the encoder has it
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(escapeHTML)
	_ = encoder.Encode(text) // a string always is
	return inner(strings.TrimSpace(out.String()))
}

func inner(quoted string) string { return quoted[1 : len(quoted)-1] }
