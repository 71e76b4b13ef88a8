package pki

import (
	"fmt"
	"regexp"
)

// Names are in certificates, tokens and keys of the store: no dot, slash or space.
var (
	// As metadata.name of kind Node.
	nodeName     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	operatorName = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$`)
	controllerID = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,78}[A-Za-z0-9])?$`)
	hostName     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)
)

const maxHostName = 253

// CheckName says what is wrong with the name of a node or an operator, or the id of a controller, or nil.
func CheckName(kind Kind, name string) error {
	switch kind {
	case Node:
		if !nodeName.MatchString(name) {
			return fmt.Errorf("node name %.80q: write lower-case letters, digits and hyphens, at most 63, as in nodes/<name>.yaml", name)
		}
	case Operator:
		if !operatorName.MatchString(name) {
			return fmt.Errorf("operator name %.80q: write lower-case letters, digits, hyphens and underscores, at most 63", name)
		}
	case Controller:
		if !controllerID.MatchString(name) {
			return fmt.Errorf("controller id %.80q: write letters, digits, dots and hyphens, at most 80", name)
		}
	default:
		return fmt.Errorf("%.20q is no kind of identity", string(kind))
	}
	return nil
}
