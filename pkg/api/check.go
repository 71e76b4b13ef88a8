package api

import "time"

// CheckResult is the outcome of one check of a doctor's report.
type CheckResult string

// Outcomes of a check.
const (
	CheckOK   CheckResult = "ok"
	CheckWarn CheckResult = "warn"
	CheckFail CheckResult = "fail"
	// CheckSkip says that the check does not apply, or could not be made; Message says why.
	CheckSkip CheckResult = "skip"
)

// CheckResults are all of them, from the best to the worst.
func CheckResults() []CheckResult { return []CheckResult{CheckSkip, CheckOK, CheckWarn, CheckFail} }

// Check is one row of a doctor's report (`ktrdrctl doctor`). It never holds a secret.
type Check struct {
	// Name is stable and in kebab-case, such as "engine-version". docs/spec/doctor.md lists them.
	Name string `json:"name"`
	// Subject is what was checked, such as a host name, an image or a path.
	Subject string      `json:"subject,omitzero"`
	Result  CheckResult `json:"result"`
	// Message is what was found, Fix what to do about it; Fix is empty when all is well.
	Message string        `json:"message"`
	Fix     string        `json:"fix,omitzero"`
	Took    time.Duration `json:"took,omitzero"`
}
