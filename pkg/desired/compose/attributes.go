package compose

import (
	"github.com/compose-spec/compose-go/v2/types"
)

// checkTreatment applies the treatments that are the same for every value.
func (m *mapper) checkTreatment(s *types.ServiceConfig) {
	place := at(s.Name)
	for _, r := range []struct {
		set  bool
		key  string
		text string
	}{
		{s.Provider != nil, "provider", "is refused: it runs a program of the machine; describe containers instead"},
	} {
		if r.set {
			m.found.errorf(place+"."+r.key, "%s", r.text)
		}
	}
}
