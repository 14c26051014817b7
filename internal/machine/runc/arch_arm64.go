package runc

import specs "github.com/opencontainers/runtime-spec/specs-go"

func architectures() []specs.Arch { return []specs.Arch{specs.ArchAARCH64, specs.ArchARM} }
