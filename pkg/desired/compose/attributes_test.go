package compose_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/types"

	"ktrdr.io/fleet/pkg/desired/compose"
)

// structs are the types of compose-go that the table of attributes decides on.
func structs() map[string]reflect.Type {
	return map[string]reflect.Type{
		"services.*":                               reflect.TypeFor[types.ServiceConfig](),
		"services.*.healthcheck":                   reflect.TypeFor[types.HealthCheckConfig](),
		"services.*.depends_on.*":                  reflect.TypeFor[types.ServiceDependency](),
		"services.*.env_file.*":                    reflect.TypeFor[types.EnvFile](),
		"services.*.logging":                       reflect.TypeFor[types.LoggingConfig](),
		"services.*.blkio_config":                  reflect.TypeFor[types.BlkioConfig](),
		"services.*.devices.*":                     reflect.TypeFor[types.DeviceMapping](),
		"services.*.gpus.*":                        reflect.TypeFor[types.DeviceRequest](),
		"services.*.ulimits.*":                     reflect.TypeFor[types.UlimitsConfig](),
		"services.*.post_start.*":                  reflect.TypeFor[types.ServiceHook](),
		"services.*.configs.*":                     reflect.TypeFor[types.FileReferenceConfig](),
		"services.*.networks.*":                    reflect.TypeFor[types.ServiceNetworkConfig](),
		"services.*.ports.*":                       reflect.TypeFor[types.ServicePortConfig](),
		"services.*.volumes.*":                     reflect.TypeFor[types.ServiceVolumeConfig](),
		"services.*.volumes.*.bind":                reflect.TypeFor[types.ServiceVolumeBind](),
		"services.*.volumes.*.volume":              reflect.TypeFor[types.ServiceVolumeVolume](),
		"services.*.volumes.*.tmpfs":               reflect.TypeFor[types.ServiceVolumeTmpfs](),
		"services.*.volumes.*.image":               reflect.TypeFor[types.ServiceVolumeImage](),
		"services.*.deploy":                        reflect.TypeFor[types.DeployConfig](),
		"services.*.deploy.update_config":          reflect.TypeFor[types.UpdateConfig](),
		"services.*.deploy.restart_policy":         reflect.TypeFor[types.RestartPolicy](),
		"services.*.deploy.placement":              reflect.TypeFor[types.Placement](),
		"services.*.deploy.resources":              reflect.TypeFor[types.Resources](),
		"services.*.deploy.resources.limits":       reflect.TypeFor[types.Resource](),
		"services.*.deploy.resources.reservations": reflect.TypeFor[types.Resource](),
		"networks.*":                               reflect.TypeFor[types.NetworkConfig](),
		"networks.*.ipam":                          reflect.TypeFor[types.IPAMConfig](),
		"networks.*.ipam.config.*":                 reflect.TypeFor[types.IPAMPool](),
		"volumes.*":                                reflect.TypeFor[types.VolumeConfig](),
		"secrets.*":                                reflect.TypeFor[types.FileObjectConfig](),
		"configs.*":                                reflect.TypeFor[types.FileObjectConfig](),
	}
}

// keys lists the YAML keys of a struct, those of embedded ones included. Extension fields
// belong to the user and have no treatment.
func keys(t reflect.Type) []string {
	var out []string
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case f.Anonymous && options == "inline":
			out = append(out, keys(f.Type)...)
		case !f.IsExported(), name == "-", name == "#extensions", name == "" && f.Type == reflect.TypeFor[types.Extensions]():
		default:
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// A field of a newer compose-go that nobody decided on makes this fail: add it to the
// table, and map it, ignore it with a reason, or refuse it.
func TestEveryAttributeHasATreatment(t *testing.T) {
	table := map[string][]string{}
	for _, a := range compose.Attributes() {
		dot := strings.LastIndex(a.Path, ".")
		table[a.Path[:dot]] = append(table[a.Path[:dot]], a.Path[dot+1:])
		if (a.Treatment == compose.Mapped) != (a.Reason == "") {
			t.Errorf("%s is %s with reason %q", a.Path, a.Treatment, a.Reason)
		}
	}
	for path, typ := range structs() {
		decided := table[path]
		slices.Sort(decided)
		for _, key := range keys(typ) {
			if !slices.Contains(decided, key) {
				t.Errorf("%s.%s of compose-go has no treatment", path, key)
			}
		}
		for i, key := range decided {
			if !slices.Contains(keys(typ), key) {
				t.Errorf("%s.%s is in the table but not in compose-go", path, key)
			}
			if i > 0 && decided[i-1] == key {
				t.Errorf("%s.%s is in the table twice", path, key)
			}
		}
		delete(table, path)
	}
	for path := range table {
		t.Errorf("%s is in the table but no struct was compared", path)
	}
}

// What the schema does not let through can't be mapped.
func TestMappedAttributesAreInTheSchema(t *testing.T) {
	var document struct {
		Defs map[string]struct {
			Properties map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal([]byte(schema.Schema), &document); err != nil {
		t.Fatal(err)
	}
	for _, a := range compose.Attributes() {
		key, found := strings.CutPrefix(a.Path, "services.*.")
		if !found || strings.Contains(key, ".") || a.Treatment != compose.Mapped || key == "name" {
			continue
		}
		known := false
		for _, def := range []string{"service", "container_spec", "workload_spec"} {
			_, ok := document.Defs[def].Properties[key]
			known = known || ok
		}
		if !known {
			t.Errorf("%s is mapped, but the schema refuses it", a.Path)
		}
	}
}
