package quota

// What tests are told.
const (
	AlongTime = alongTime
	MostAlong = mostAlong
)
