// Elementary functions of double, our own: plain additions, products, quotients and square roots of IEEE 754
// in one order, so that the bits are the same on every CPU, with every C library and compiler (which must not
// contract a * b + c).
//
// Each looks up the value at a near point of a table, adds a short Taylor series, and keeps in double-double
// what decides the last place. Errors against the exact value: below 0.53 units in the last place, 0.8 where
// the result is subnormal. Special cases are those of C's <math.h>, Annex F; no exception flag is promised.
#pragma once

namespace pyinfer::f64 {

double exp(double x);
double expm1(double x);
double log(double x);
double log1p(double x);
double pow(double x, double y);

double sinh(double x);
double cosh(double x);
double tanh(double x);
double asinh(double x);
double acosh(double x);
double atanh(double x);

double sin(double x);
double cos(double x);
double tan(double x);
double asin(double x);
double acos(double x);
double atan(double x);

double erf(double x);

}  // namespace pyinfer::f64
