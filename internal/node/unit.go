package node

// Program is where a node finds lido's program: a link to the host's at /run/lido/lido, or a copy of it if programs
// cannot be run there because the host's /run is noexec, as Debian's is.
const Program = "/usr/local/bin/lido-node"

// Unit is the systemd unit of the agent, for a machine that finds lido's program at /run/lido/lido. What an agent that
// ended has left is killed, by systemd and by the next agent: nobody knows those tasks any more.
const Unit = `[Unit]
Description=Agent of the batch cluster
After=network.target
StartLimitIntervalSec=0

[Service]
ExecStartPre=/bin/sh -c 'p=` + Program + `; if [ -x /run/lido/lido ]; then ln -sfn /run/lido/lido $$p; else cp /run/lido/lido $$p.new && mv -fT $$p.new $$p; fi'
ExecStart=` + Program + ` node
Environment=GOMAXPROCS=2 GOGC=50
Restart=always
RestartSec=100ms
Delegate=yes
KillMode=mixed
OOMPolicy=continue
TimeoutStopSec=15
LimitNOFILE=65536
TasksMax=infinity

[Install]
WantedBy=multi-user.target
`
