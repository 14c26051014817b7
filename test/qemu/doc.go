// Package qemu proves lido on the kind of box that users have: a fresh Debian 12 with its own kernel, systemd as init
// and one cgroup v2 hierarchy, booted under QEMU without hardware virtualisation. Its tests have the build tag qemu.
//
// Disks are made once and kept in the test cache; each run writes to throw-away copies. Nothing is downloaded or built
// inside: the virtual machine has no network but its own.
package qemu
