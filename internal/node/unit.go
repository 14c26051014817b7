package node

// Unit is the systemd unit of the agent, for a machine that finds lido's program at /run/lido/lido. What an agent that
// ended has left is killed, by systemd and by the next agent: nobody knows those tasks any more.
const Unit = `[Unit]
Description=Agent of the batch cluster
After=network.target
StartLimitIntervalSec=0

[Service]
ExecStart=/run/lido/lido node
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
