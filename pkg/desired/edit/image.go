package edit

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// tagName is what registries accept (distribution's reference grammar).
var tagName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

var (
	variableUse = regexp.MustCompile(`\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-?+])([^{}$]*))?\})`)
	// anyUse finds names also where they are nested in defaults of others.
	anyUse = regexp.MustCompile(`\$\{?([A-Za-z_][A-Za-z0-9_]*)`)
)

// part of an image's template: plain text or the use of one variable.
type part struct {
	// raw is the part as it is written.
	raw, text, variable string
	// fallback is the default of ${variable:-default}.
	fallback string
}

// parts splits a template. An error says what is not understood.
func parts(template string) ([]part, error) {
	var out []part
	for template != "" {
		at := variableUse.FindStringSubmatchIndex(template)
		plain := template
		if at != nil {
			plain = template[:at[0]]
		}
		if strings.Contains(plain, "$") {
			return nil, errors.New("has a ${…} that is too much to be edited")
		}
		if plain != "" {
			out = append(out, part{raw: plain, text: plain})
		}
		if at == nil {
			break
		}
		m := variableUse.FindStringSubmatch(template[at[0]:])
		if strings.HasSuffix(m[3], "+") {
			return nil, errors.New("uses ${" + m[2] + m[3] + "…}, whose value is not that of the variable")
		}
		p := part{raw: m[0], variable: m[1] + m[2]}
		if strings.HasSuffix(m[3], "-") {
			p.fallback = m[4]
		}
		out = append(out, p)
		template = template[at[1]:]
	}
	return out, nil
}

// retag says how an image's template gets another tag: by a variable's new value, or by new
// text in the place of the template.
type retag struct {
	variable, value string
	text            string
}

// resolve finds the text that defines a variable; false for none.
type resolve func(variable string) (string, bool)

// maxNested bounds variables whose value is an image that is made of variables.
const maxNested = 10

// tagged decides how to give template a tag.
func tagged(template, tag string, get resolve, depth int) (retag, error) {
	all, err := parts(template)
	if err != nil {
		return retag{}, err
	}
	if depth > maxNested {
		return retag{}, errors.New("is made of variables that refer to each other")
	}
	for _, p := range all {
		if strings.Contains(p.text, "@") {
			return retag{}, errors.New("is pinned by a digest: take out @sha256:… first")
		}
	}
	repository, rest, found := cutTag(all)
	if !found {
		return untagged(all, tag, get, depth)
	}
	return inTag(repository, rest, tag)
}

// cutTag finds the colon before the tag: the last one in plain text with no slash after it.
func cutTag(all []part) (repository string, rest []part, found bool) {
	for i, p := range slices.Backward(all) {
		if p.variable != "" {
			continue
		}
		colon, slash := strings.LastIndex(p.text, ":"), strings.LastIndex(p.text, "/")
		if colon > slash {
			if after := p.text[colon+1:]; after != "" {
				rest = append(rest, part{text: after})
			}
			return write(all[:i]) + p.text[:colon+1], append(rest, all[i+1:]...), true
		}
		if slash >= 0 {
			return "", nil, false
		}
	}
	return "", nil, false
}

func write(all []part) string {
	var out strings.Builder
	for _, p := range all {
		out.WriteString(p.raw)
	}
	return out.String()
}

// inTag writes a tag that is plain, or one variable with plain text around it.
func inTag(repository string, rest []part, tag string) (retag, error) {
	var prefix, suffix, variable string
	for _, p := range rest {
		switch {
		case p.variable != "" && variable != "":
			return retag{}, fmt.Errorf("makes its tag of several variables (%s, %s): set them by hand", variable, p.variable)
		case p.variable != "":
			variable = p.variable
		case variable == "":
			prefix += p.text
		default:
			suffix += p.text
		}
	}
	if variable == "" {
		return retag{text: repository + tag}, nil
	}
	value, ok := strings.CutPrefix(tag, prefix)
	if ok {
		value, ok = strings.CutSuffix(value, suffix)
	}
	if !ok || value == "" {
		return retag{}, fmt.Errorf("makes its tag as %s${%s}%s: a tag that looks so is needed, not %s", prefix, variable, suffix, tag)
	}
	return retag{variable: variable, value: value}, nil
}

// untagged is a template without a tag of its own: a last variable may hold it.
func untagged(all []part, tag string, get resolve, depth int) (retag, error) {
	if len(all) == 0 {
		return retag{}, errors.New("is empty")
	}
	last := all[len(all)-1]
	if last.variable == "" {
		return retag{text: write(all) + ":" + tag}, nil
	}
	value, ok := get(last.variable)
	if !ok {
		value = last.fallback
	}
	if value == "" {
		return retag{}, fmt.Errorf("is ${%s}, which nothing sets", last.variable)
	}
	inner, err := tagged(value, tag, get, depth+1)
	if err != nil {
		return retag{}, fmt.Errorf("is made by ${%s}, which %w", last.variable, err)
	}
	if inner.variable == "" {
		return retag{variable: last.variable, value: inner.text}, nil
	}
	return inner, nil
}

// uses tells whether a text uses one of the variables.
func uses(value string, names map[string]bool) bool {
	plain := strings.ReplaceAll(value, "$$", "")
	for _, m := range anyUse.FindAllStringSubmatch(plain, -1) {
		if names[m[1]] {
			return true
		}
	}
	return false
}
