package desired

import (
	"regexp"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

var (
	// secretName finds the words that make a name look like a secret.
	secretName = regexp.MustCompile(`(^|_)(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|APIKEY|PGPASS)(_|$)` +
		`|(^|_)(API|PRIVATE|ACCESS|SECRET|ENCRYPTION|SIGNING|AUTH|MASTER|LICENSE|ACCOUNT|SHARED)_KEY(_|$)` +
		`|[A-Z0-9](PASSWORD|PASSWD|SECRET)(_|$)|_PWD$|_PASS$`)
	// aboutSecret are names that speak about a secret without being one.
	aboutSecret = regexp.MustCompile(`_(FILE|PATH|DIR|NAME|ID|URL|URI|ENDPOINT|HOST|TTL|EXPIRY|EXPIRATION|EXPIRES|EXPIRES_IN|EXPIRE_MINUTES|TIMEOUT|` +
		`LIFETIME|DURATION|SECONDS|MINUTES|HOURS|DAYS|LENGTH|LIMIT|COUNT|SIZE|MIN|MAX|ALGORITHM|ALG|TYPE|METHOD|MODE|ENABLED|DISABLED|` +
		`REQUIRED|POLICY|HEADER|ISSUER|AUDIENCE|ENCRYPTION|PROVIDER|BACKEND|VERSION|PREFIX|FORMAT|ROTATION|INTERVAL|REGION|STORE)$` +
		`|^(ALLOW|ENABLE|DISABLE|REQUIRE|NO|USE|SKIP|HAS|IS|MAX|MIN)_|^(OLD)?PWD$`)
	// secretText are values that are secrets whatever their name says: key blocks, tokens
	// with a known prefix, a password inside a URL.
	secretText = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----` +
		`|\b(gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,}|glpat-[A-Za-z0-9_-]{20}|xox[abprs]-[A-Za-z0-9-]{10,}|AKIA[A-Z0-9]{16}|ops_eyJ[A-Za-z0-9_-]{20,})` +
		`|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+`)
	urlPassword = regexp.MustCompile(`[a-z][a-z0-9+.-]*://[^/?#\s:@]*:([^/?#\s@]+)@`)
)

// plaintextFault tells whether name=value looks like a secret written in the clear. Values
// with a placeholder, variables still to expand, booleans and empty text are none.
func plaintextFault(name, value string) string {
	value = strings.TrimSpace(value)
	if value == "" || api.IsReference(value) {
		return ""
	}
	if secretText.MatchString(value) || hasURLPassword(value) {
		return "holds a secret in plain text: replace it by a reference such as op://vault/item/field, or {{ op://… }} inside a longer text"
	}
	upper := strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
	if !secretName.MatchString(upper) || aboutSecret.MatchString(upper) || !isLiteral(value) {
		return ""
	}
	return "looks like a secret in plain text: replace it by a reference such as op://vault/item/field, " +
		"or list the name in plaintextAllowed if it is none"
}

// isLiteral is false for what holds a reference or a variable, for booleans, and for the
// path of a secret file.
func isLiteral(value string) bool {
	if strings.HasPrefix(value, "/run/secrets/") {
		return false
	}
	if len(api.References(value)) > 0 || embedded.MatchString(value) || strings.Contains(value, "$") {
		return false
	}
	return !slices.Contains([]string{"true", "false", "yes", "no", "on", "off"}, strings.ToLower(value))
}

func hasURLPassword(value string) bool {
	for _, found := range urlPassword.FindAllStringSubmatch(hideReferences(value), -1) {
		if !strings.ContainsAny(found[1], "$\x00") {
			return true
		}
	}
	return false
}

// hideReferences replaces references by a character that no password has.
func hideReferences(value string) string {
	value = embedded.ReplaceAllString(value, "\x00")
	// Expand fails only where the callback does.
	value, _ = api.Expand(value, func(string) (string, error) { return "\x00", nil })
	return value
}

// checkPlaintext refuses variables of a file that look like secrets in the clear.
func (d *document) checkPlaintext(path string, values map[string]string, allowed []string) {
	for _, name := range keysOf(values) {
		if fault := plaintextFault(name, values[name]); fault != "" && !slices.Contains(allowed, name) {
			d.problem(path+"."+name, "%s", fault)
		}
	}
}
