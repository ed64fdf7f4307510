package embed

import "math"

// A matrix is rows of numbers, one after the other.
type matrix struct {
	rows, cols int
	data       []float32
}

func newMatrix(rows, cols int) matrix {
	return matrix{rows, cols, make([]float32, rows*cols)}
}

func (m matrix) row(i int) []float32 { return m.data[i*m.cols:][:m.cols] }

// turned is m with rows for columns.
func (m matrix) turned() matrix {
	t := newMatrix(m.cols, m.rows)
	for i := range m.rows {
		for j, f := range m.row(i) {
			t.data[j*t.cols+i] = f
		}
	}
	return t
}

// A dense layer gives each row of its input weights*row + bias.
type dense struct {
	weights matrix // a row for each output
	bias    []float32
}

// apply computes out for all rows of in. Two rows of weights stay near while all rows of input pass, four at a time: so the processor has
// eight sums that do not wait for one another, which the compiler leaves to us.
func (d dense) apply(in, out matrix) {
	j := 0
	for ; j+2 <= out.cols; j += 2 {
		w0, w1, b0, b1 := d.weights.row(j), d.weights.row(j+1), d.bias[j], d.bias[j+1]
		i := 0
		for ; i+4 <= in.rows; i += 4 {
			s := dots(w0, w1, in.row(i), in.row(i+1), in.row(i+2), in.row(i+3))
			for k := range 4 {
				y := out.row(i + k)
				y[j], y[j+1] = s[k]+b0, s[k+4]+b1
			}
		}
		for ; i < in.rows; i++ {
			x, y := in.row(i), out.row(i)
			y[j], y[j+1] = dot(w0, x)+b0, dot(w1, x)+b1
		}
	}
	for ; j < out.cols; j++ {
		for i := range in.rows {
			out.row(i)[j] = dot(d.weights.row(j), in.row(i)) + d.bias[j]
		}
	}
}

// dots are the products of two rows of weights with four of input: those of the first, then those of the second. The race detector
// leaves it and dot alone, which would take twenty times as long under it: they write nothing, and weights never change.
//
//go:norace
func dots(w0, w1, x0, x1, x2, x3 []float32) [8]float32 {
	n := len(w0)
	w1, x0, x1, x2, x3 = w1[:n], x0[:n], x1[:n], x2[:n], x3[:n]
	var a0, a1, a2, a3, b0, b1, b2, b3 float32
	for k, a := range w0 {
		b := w1[k]
		f0, f1, f2, f3 := x0[k], x1[k], x2[k], x3[k]
		a0 += a * f0
		b0 += b * f0
		a1 += a * f1
		b1 += b * f1
		a2 += a * f2
		b2 += b * f2
		a3 += a * f3
		b3 += b * f3
	}
	return [8]float32{a0, a1, a2, a3, b0, b1, b2, b3}
}

//go:norace
func dot(a, b []float32) float32 {
	b = b[:len(a)]
	var s0, s1, s2, s3 float32
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return s0 + s1 + s2 + s3
}

// normal gives each row the mean 0 and the variance 1, then a scale and a bias of its own to each column.
type normal struct{ scale, bias []float32 }

const normalEpsilon = 1e-6

func (n normal) apply(in, out matrix) {
	for i := range in.rows {
		x, y := in.row(i), out.row(i)
		var mean, variance float64
		for _, f := range x {
			mean += float64(f)
		}
		mean /= float64(len(x))
		for _, f := range x {
			variance += (float64(f) - mean) * (float64(f) - mean)
		}
		by := 1 / math.Sqrt(variance/float64(len(x))+normalEpsilon)
		for j, f := range x {
			y[j] = float32((float64(f)-mean)*by)*n.scale[j] + n.bias[j]
		}
	}
}

// add adds b to a.
func (m matrix) add(b matrix) {
	for i, f := range b.data {
		m.data[i] += f
	}
}

// unit makes v one long. False: it has no direction.
func unit(v []float32) bool {
	var sum float64
	for _, f := range v {
		sum += float64(f) * float64(f)
	}
	if !(sum > 0) || math.IsInf(sum, 0) {
		return false
	}
	by := 1 / math.Sqrt(sum)
	for i, f := range v {
		v[i] = float32(float64(f) * by)
	}
	return true
}
