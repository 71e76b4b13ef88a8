package image_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"testing"

	"ktrdr.io/fleet/test/demo/image"
)

func archiveOf(t *testing.T, specs []image.Spec) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := image.WriteArchive(&b, image.Platform{Architecture: "amd64"}, []byte("program"), specs); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// entries returns the content of every entry of a tar by name.
func entries(t *testing.T, raw []byte) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for in := tar.NewReader(bytes.NewReader(raw)); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := all[header.Name]; twice {
			t.Errorf("entry %s is there twice", header.Name)
		}
		all[header.Name] = body
	}
}

func TestArchiveIsTheSameBytesTwice(t *testing.T) {
	first, second := archiveOf(t, image.Catalog()), archiveOf(t, image.Catalog())
	if !bytes.Equal(first, second) {
		t.Error("two archives of the same images differ")
	}
}

func TestEveryImageHasItsOwnID(t *testing.T) {
	var manifests []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	all := entries(t, archiveOf(t, image.Catalog()))
	if err := json.Unmarshal(all["manifest.json"], &manifests); err != nil {
		t.Fatal(err)
	}
	if len(manifests) != len(image.Catalog()) {
		t.Fatalf("%d manifests for %d images", len(manifests), len(image.Catalog()))
	}
	ids := map[string][]string{}
	for _, m := range manifests {
		if other, there := ids[m.Config]; there {
			t.Errorf("%v and %v have one id", other, m.RepoTags)
		}
		ids[m.Config] = m.RepoTags
		for _, name := range append(m.Layers, m.Config) {
			if _, there := all[name]; !there {
				t.Errorf("%v names %s, which the archive lacks", m.RepoTags, name)
			}
		}
		if m.Layers[0] != manifests[0].Layers[0] {
			t.Errorf("%v does not share the layer of the program", m.RepoTags)
		}
	}
}

// The layers must be complete trees: an engine makes a missing parent with a mode of its own choice.
func TestFilesFollowTheirDirectories(t *testing.T) {
	for _, spec := range image.Catalog() {
		known := map[string]bool{".": true}
		for _, f := range spec.Files {
			if !known[path.Dir(f.Path)] {
				t.Errorf("%v: %s comes before its directory", spec.Tags, f.Path)
			}
			if _, twice := known[f.Path]; twice {
				t.Errorf("%v: %s is there twice", spec.Tags, f.Path)
			}
			known[f.Path] = f.Dir
		}
	}
}

// The names are those of the user's Compose files.
func TestCatalogHasTheUsersReferences(t *testing.T) {
	var tags []string
	for _, spec := range image.Catalog("sha-1234567") {
		tags = append(tags, spec.Tags...)
		if spec.Config.Labels[image.Label] == "" {
			t.Errorf("%v lacks the label that protects foreign images", spec.Tags)
		}
	}
	for _, want := range []string{
		"ghcr.io/kpiteira/ktrdr-backend:latest", "ghcr.io/kpiteira/ktrdr-backend:sha-demo1", "ghcr.io/kpiteira/ktrdr-backend:sha-1234567",
		"timescale/timescaledb-ha:pg15", "prom/prometheus:latest", "grafana/grafana:latest", "jaegertracing/all-in-one:1.53",
		"ktrdr-demo:1", "ktrdr-demo:2",
	} {
		if !slices.Contains(tags, want) {
			t.Errorf("no image is tagged %s", want)
		}
	}
	if sorted := slices.Sorted(slices.Values(tags)); len(slices.Compact(sorted)) != len(tags) {
		t.Errorf("a tag is given twice: %s", strings.Join(tags, " "))
	}
}

// A deploy of another version is seen in the health endpoint, not only in the id.
func TestReleasesTellTheirVersion(t *testing.T) {
	for i, version := range []string{"1", "2", "broken"} {
		spec := image.Catalog()[i]
		if spec.Tags[0] != "ktrdr-demo:"+version || !slices.Contains(spec.Config.Env, "KTRDRSIM_VERSION="+version) {
			t.Errorf("release %s is %v with %v", version, spec.Tags, spec.Config.Env)
		}
	}
}
