package runc

import specs "github.com/opencontainers/runtime-spec/specs-go"

func (e *Engine) lxcfsMounts() []specs.Mount { return nil }
