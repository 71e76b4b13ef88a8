package packaging_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestVersionsAscend: what git calls newer, dpkg takes for newer.
func TestVersionsAscend(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg")
	if err != nil {
		t.Skip("SKIPPED: no dpkg here to compare versions with")
	}
	ascending := []struct{ version, epoch, want string }{
		{"dev", "1000000000", "0~20010909014640.dev"},
		{"ffab34f", "1700000000", "0~20231114221320.ffab34f"},
		{"12ab34f", "1700000001", "0~20231114221321.12ab34f"},
		{"12ab34f-dirty", "1700000001", "0~20231114221321.12ab34f+dirty"},
		{"v0.9.0", "", "0.9.0"},
		{"v1.0.0-alpha.1", "", "1.0.0~alpha.1"},
		{"v1.0.0-rc.1", "", "1.0.0~rc.1"},
		{"v1.0.0-rc.1-3-g12ab34f", "", "1.0.0~rc.1+3+g12ab34f"},
		{"v1.0.0-rc.2", "", "1.0.0~rc.2"},
		{"v1.0.0", "", "1.0.0"},
		{"v1.0.0-dirty", "", "1.0.0+0+dirty"},
		{"v1.0.0-9-gff0000f", "", "1.0.0+9+gff0000f"},
		{"v1.0.0-10-g12ab34f", "", "1.0.0+10+g12ab34f"},
		{"v1.0.0-10-g12ab34f-dirty", "", "1.0.0+10+g12ab34f+dirty"},
		{"v1.0.1", "", "1.0.1"},
		{"v1.10.0", "", "1.10.0"},
	}
	before := "0~"
	for _, v := range ascending {
		cmd := command(t, "../scripts/deb-version.sh", v.version)
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+v.epoch)
		got := strings.TrimSpace(must(t, cmd))
		if got != v.want {
			t.Errorf("%s is %s, wanted %s", v.version, got, v.want)
		}
		if out, err := command(t, dpkg, "--compare-versions", before, "lt", got).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("dpkg does not take %s for newer than %s: %v %s", got, before, err, out)
		}
		before = got
	}
}
