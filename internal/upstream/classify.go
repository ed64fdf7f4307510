package upstream

// A class is what a failure means for the target, for its credential and for the next attempt.
type class uint8

// The classes.
const (
	classInternal    class = iota // a fault of ours: nobody marked it
	classCredential               // the credential is dead: the next one at once
	classLimited                  // a rate limit: the next credential, and back off
	classTransient                // the target failed: once more, then the next target
	classConnect                  // the target was not reached, nothing was sent: as transient
	classUnsupported              // the target cannot carry a member: another may
	classContext                  // the call is longer than the model's context
	classContent                  // the provider's filter refused the content
	classFinal                    // the call itself is at fault: the same everywhere
	classGone                     // the client left
	classOwn                      // the client's own deadline has passed
)
