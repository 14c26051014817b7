package gang

import (
	"math"
	"time"
)

// ahead is what a running node counts for in its person's share before it has run at all. Without it, someone who used
// nothing so far could start on every node of the cluster in the same instant.
const ahead = time.Hour

// person is somebody's share: what they used, decayed, and what they use now.
//
// Use of n nodes from a to b counts at time t as the sum of n * 2^(-(t-s)/halfLife) over all seconds s. In units that
// grow with time, scale(t) = 2^((t-epoch)/halfLife), that sum is n * life * (scale(b)-scale(a)) / scale(t), with life =
// halfLife/ln 2. So a person is a sum that does not change while time passes, and the number of nodes in use.
type person struct {
	name    string
	settled float64 // node-seconds times scale: those of what is over, less nodes * life * scale(start) of what runs
	running int     // nodes
	jobs    int     // queued and running
	lines   []*line // its queued jobs, one for each priority
}

// shares is everybody's share.
type shares struct {
	halfLife time.Duration
	epoch    time.Time
	people   map[string]*person
}

// person returns the person of that name, a new one if there is none.
func (s *shares) person(name string) *person {
	p := s.people[name]
	if p == nil {
		p = &person{name: name}
		s.people[name] = p
	}
	return p
}

// start counts nodes as a person's from a time on.
func (s *shares) start(p *person, nodes int, at time.Time) {
	p.running += nodes
	scale := s.scale(at)
	p.settled -= float64(nodes) * s.life() * scale
}

// stop ends what start began.
func (s *shares) stop(p *person, nodes int, from, to time.Time) {
	if to.Before(from) {
		to = from
	}
	scale := s.scale(to)
	p.settled += float64(nodes) * s.life() * scale
	if p.running -= nodes; p.running == 0 {
		p.settled = max(p.settled, 0) // it can't be less but by rounding
	}
}

// prices returns a function that tells what everybody's use counts for at a time. It holds until something starts or
// stops at another time.
func (s *shares) prices(now time.Time) func(*person) float64 {
	each := (s.life() + ahead.Seconds()) * s.scale(now)
	return func(p *person) float64 { return p.settled + float64(p.running)*each }
}

// used returns the node-seconds that a person's use counts for at a time, without what is counted ahead.
func (s *shares) used(p *person, now time.Time) float64 {
	scale := s.scale(now)
	return p.settled/scale + float64(p.running)*s.life()
}

// life is the mean time that a second of use counts, in seconds.
func (s *shares) life() float64 { return s.halfLife.Seconds() / math.Ln2 }

// scale returns the unit of a time, and keeps units within what numbers can hold.
func (s *shares) scale(t time.Time) float64 {
	if s.epoch.IsZero() {
		s.epoch = t
	}
	for {
		n := int(t.Sub(s.epoch) / s.halfLife)
		if n <= 64 {
			break
		}
		s.rebase(n)
	}
	return math.Exp2(float64(t.Sub(s.epoch)) / float64(s.halfLife))
}

// rebase moves the epoch on by so many half-lives, and forgets people whose use no longer counts.
func (s *shares) rebase(halfLives int) {
	s.epoch = s.epoch.Add(time.Duration(halfLives) * s.halfLife)
	for name, p := range s.people {
		p.settled = math.Ldexp(p.settled, -halfLives)
		if p.jobs == 0 && p.running == 0 && p.settled < 1 {
			delete(s.people, name)
		}
	}
}
