package same

import "strings"

// set is the words of a text.
func set(words string) map[string]bool {
	m := make(map[string]bool)
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

// pairs maps each word of "from=to" to its other half.
func pairs(words string) map[string]string {
	m := make(map[string]string)
	for w := range strings.FieldsSeq(words) {
		from, to, _ := strings.Cut(w, "=")
		m[from] = to
	}
	return m
}

var (
	// empty words carry no content: a question means the same with another of them. What stands in another list here is looked for
	// there first.
	empty = set(`a an the this that these those there here it its itself i me my mine myself you your yours yourself we our ours
		us they them their theirs one's someone something somebody to of in on at by for with about into onto as and but so also
		be is are am been being do does done doing have has having can could will would shall may might get gets getting got
		please kindly hi hello hey thanks thank dear just really very actually basically some any such kind sort
		if then than which that's let lets ok okay`)

	asks = set("who whom whose what which when where why how")

	// not, however it is said: how often must be the same.
	denies = set(`not no never none nobody nothing nowhere neither nor cannot without hardly lack lacks lacking except unless
		dont doesnt didnt isnt arent wasnt werent cant couldnt wont wouldnt shouldnt hasnt havent hadnt aint mustnt neednt`)

	// turns say where something goes, or how two things stand to each other.
	turns = set(`from before after since until till during while against between versus vs than or instead under over above
		below behind beyond near inside outside out off up down through across toward towards away via per except both`)

	measures = set("many much long often old far big tall high deep fast soon") // behind how
	past     = set("was were did had")
	demands  = set("should must ought supposed")

	// fleeting words make a question whose answer is another one tomorrow.
	fleeting = set(`today tonight tomorrow yesterday now nowadays currently current latest newest recent recently lately ago
		upcoming weather forecast news trending breaking live`)
	// moments are fleeting behind one of these.
	moments = set("second minute hour morning afternoon evening night day week weekend month quarter season year century time")
	theses  = set("this last next past coming previous")

	numerals = pairs(`zero=0 two=2 three=3 four=4 five=5 six=6 seven=7 eight=8 nine=9 ten=10 eleven=11 twelve=12 thirteen=13
		fourteen=14 fifteen=15 sixteen=16 seventeen=17 eighteen=18 nineteen=19 twenty=20 thirty=30 forty=40 fifty=50 sixty=60
		seventy=70 eighty=80 ninety=90 hundred=100 hundreds=100 thousand=1000 thousands=1000 million=1e6 millions=1e6 billion=1e9
		billions=1e9 trillion=1e12 dozen=12 half=1/2 third=3rd twice=2x double=2x triple=3x once=1x`)

	// units, dates and currencies by one name each.
	units = pairs(`kg=kg kgs=kg kilo=kg kilos=kg kilogram=kg kilograms=kg g=g gram=g grams=g lb=lb lbs=lb oz=oz ounce=oz ounces=oz
		km=km kms=km kilometer=km kilometers=km kilometre=km kilometres=km meter=m meters=m metre=m metres=m cm=cm mm=mm
		centimeter=cm centimeters=cm mile=mi miles=mi mph=mph kmh=kmh ft=ft feet=ft foot=ft inch=in inches=in yard=yd yards=yd
		liter=l liters=l litre=l litres=l ml=ml gallon=gal gallons=gal celsius=C fahrenheit=F degree=deg degrees=deg percent=% %=%
		ms=ms sec=s secs=s second=s seconds=s minute=min minutes=min min=min mins=min hour=h hours=h hr=h hrs=h day=d days=d daily=d
		week=w weeks=w weekly=w month=mon months=mon monthly=mon year=y years=y yearly=y annually=y kb=kb mb=mb gb=gb tb=tb
		kbps=kbps mbps=mbps gbps=gbps mhz=mhz ghz=ghz watt=W watts=W kw=kW kwh=kWh volt=V volts=V amp=A amps=A am=am pm=pm
		dollar=$ dollars=$ usd=$ $=$ euro=€ euros=€ eur=€ €=€ gbp=£ £=£ rupee=₹ rupees=₹ inr=₹ ₹=₹ yen=¥ jpy=¥ ¥=¥ cent=c cents=c
		january=jan jan=jan february=feb feb=feb april=apr apr=apr june=jun jun=jun july=jul jul=jul august=aug aug=aug
		september=sep sept=sep sep=sep october=oct oct=oct november=nov nov=nov december=dec dec=dec
		monday=mo tuesday=tu wednesday=we thursday=th friday=fr saturday=sa sunday=su`)

	// short and long forms of a word of another list.
	short = pairs(`whats=what|is hows=how|is wheres=where|is whos=who|is whys=why|is im=i|am ive=i|have youre=you|are
		gonna=going|to wanna=want|to`)
	endings = pairs(`'m=am 're=are 've=have 'll=will 'd=would`)

	// superlatives that do not end in -est, and what ends so and is none.
	tops    = set("best worst most least")
	notTops = set(`test latest west rest guest request interest suggest invest protest honest forest harvest contest digest arrest
		quest nest chest pest vest fest priest conquest manifest modest midwest southwest northwest bequest attest detest
		request behest inquest tempest budapest everest reforest divest infest ingest congest crest wrest zest`)

	// english words that few other languages have, and words that others have and English has not.
	english = set(`the is are was were what which who why how when where do does did can could should would will you your my i it
		and of to for with from this that there have has best way if not any between without about`)
	foreign = set(`der die das und ist nicht wie ich mein ein eine einen kann warum wo wann le la les des est que qui quoi pas
		comment pourquoi je mon une dans el los las como por para una donde cuando porque mi il lo che di non perche quando come
		um uma não nao o os e é à qual são een het niet hoe waar van ik zijn och att det jag hur inte jak nie czy jest się w na`)
)

// opposites: who asks about one does not ask about the other. A pair has two words, each with its other forms.
var opposites = opposed(`
	gain,put|lose,reduce,shed,drop
	increase,raise,grow,improve,boost|decrease,reduce,lower,shrink,worsen
	buy,purchase|sell
	start,begin,launch|stop,end,finish,quit
	open|close,shut
	enable,activate,allow,permit,unblock|disable,deactivate,forbid,prevent,block,ban
	more|less,fewer
	most|least
	best|worst,hardest
	good|bad
	better|worse
	high,higher,highest|low,lower,lowest
	big,large,larger,biggest,largest|small,smaller,little,smallest
	long,longer,longest|short,shorter,shortest
	fast,faster,quick|slow,slower
	easy,easier,easiest|hard,harder,difficult,hardest
	hot,warm|cold,cool
	hard|soft
	up,upward|down,downward
	on|off
	before|after
	first|last
	early|late
	old,older|new,newer,young,younger
	maximum,max|minimum,min
	male,man,men,boy,boys,he,him,his,guy,guys|female,woman,women,girl,girls,she,her,hers
	husband,father,son,brother,dad|wife,mother,daughter,sister,mom
	win|lose
	love,like|hate,dislike
	import|export
	upload|download
	encrypt,encode,encoding|decrypt,decode,decoding
	add,insert,install,create,make|remove,delete,uninstall,destroy,erase
	left|right
	north,northern|south,southern
	east,eastern|west,western
	public|private
	push|pull
	lend|borrow
	follow|unfollow
	above,over|below,under,beneath
	cause,get,catch|cure,treat,heal,prevent,avoid,remove
	always|never
	true,right|false,wrong
	true|false
	pro,pros,advantage,advantages,benefit,benefits|con,cons,disadvantage,disadvantages,drawback,drawbacks,risk,risks
	day|night
	summer|winter
	spring|autumn,fall
	rich|poor
	strong,stronger,strength|weak,weaker,weakness
	safe|dangerous,unsafe
	single|married
	marry|divorce
	deposit|withdraw,withdrawal
	send|receive
	give|take
	credit|debit
	lock|unlock
	accept,approve|reject,refuse,decline,deny
	positive|negative
	success,succeed|failure,fail
	absolute|relative
	import|export
	inside,in,indoor|outside,out,outdoor
	black|white
	birth,born,birthday|death,die,died
	alive|dead
	war|peace
	attack|defend
	ascending|descending
	horizontal|vertical
	input|output
	client|server
	parent|child
	human,humans,people|plant,plants,animal,animals,dog,dogs,cat,cats
	democrat,democrats|republican,republicans
	teach|learn
	question|answer
	ask|answer
	employer|employee
	cheap,cheaper,cheapest|expensive
	full|empty
	wet|dry
	light|dark,heavy
	near|far
	same|different
	together|apart
	arrive,arrival|leave,depart,departure
	remember|forget
	hide|show
	save|spend,waste
	legal|illegal
	arrange|cancel
	asset|liability`)

// opposed maps a stem to the numbers of the pairs it stands in: n for its first half, -n for its second.
func opposed(table string) map[string][]int {
	m := make(map[string][]int)
	n := 0
	for line := range strings.Lines(table) {
		first, second, ok := strings.Cut(strings.TrimSpace(line), "|")
		if !ok {
			continue
		}
		n++
		for w := range strings.SplitSeq(first, ",") {
			m[stem(w)] = append(m[stem(w)], n)
		}
		for w := range strings.SplitSeq(second, ",") {
			m[stem(w)] = append(m[stem(w)], -n)
		}
	}
	return m
}

// turned are the beginnings that make a word's opposite.
var turned = []string{"un", "in", "im", "il", "ir", "non", "dis", "de", "anti", "re", "mis", "over", "under", "pre", "post"}
