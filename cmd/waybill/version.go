package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill/internal/fault"
)

// version is set by the linker for releases (-X main.version=…); it is never changed.
var version string

// program says which program this is.
type program struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Faults is true for a test build that can be broken on purpose.
	Faults bool `json:"faults,omitempty"`
}

func versionInfo() program {
	p := program{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Faults: fault.Enabled}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if p.Version == "" {
		p.Version = info.Main.Version
	}
	if p.Version == "" || p.Version == "(devel)" {
		p.Version = "dev"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			p.Commit = s.Value
		}
	}
	return p
}

func (a *app) newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  waybill version\n  waybill version -o json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			p := versionInfo()
			return a.emit(p, func(w io.Writer) {
				fmt.Fprintf(w, "waybill %s (%s, %s)\n", p.Version, p.Go, p.Platform)
				if p.Faults {
					fmt.Fprintln(w, "test build: it can be broken on purpose")
				}
			})
		},
	}
}
