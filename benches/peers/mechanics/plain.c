/* Molecular mechanics as one would write it in C: one conformation after the other, no vectors by hand.
 *
 *     gcc -O3 -march=native [-DSINGLE] plain.c -o plain -lm
 *     plain PARAMETERS FRAMES RESULTS
 *
 * PARAMETERS is the text that compare.py makes of an OpenMM System: bonds, angles, torsions, Lennard-Jones and
 * Coulomb with exceptions, generalised Born (OBC1, OBC2, GBn2) with surface area. FRAMES holds positions in nm as
 * doubles, [frame][atom][xyz]. RESULTS gets the energy in kJ/mol and the forces of every frame, as doubles.
 * Then each line on standard input is one timing of all frames; the answer is CPU seconds per conformation.
 *
 * Distances and the derivatives of the descreening integrals are computed once and kept for the later loops.
 */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef SINGLE
typedef float real;
#define SQRT sqrtf
#define EXP expf
#define LOG logf
#define TANH tanhf
#define SIN sinf
#define COS cosf
#define ACOS acosf
#define ATAN2 atan2f
#define FABS fabsf
#else
typedef double real;
#define SQRT sqrt
#define EXP exp
#define LOG log
#define TANH tanh
#define SIN sin
#define COS cos
#define ACOS acos
#define ATAN2 atan2
#define FABS fabs
#endif
#define R(x) ((real)(x))

typedef struct { int i, j; real r0, k; } Bond;
typedef struct { int i, j, k; real theta0, stiffness; } Angle;
typedef struct { int i, j, k, l, n; real phase, barrier; } Torsion;
/* Lennard-Jones A/r^12 - B/r^6 and charge product times Coulomb's constant. */
typedef struct { real a, b, qq; } Pair;
typedef struct { real charge, offset_radius, radius, scaled_radius, alpha, beta, gamma; int type; } Born;

static int n, n_bonds, n_angles, n_torsions, n_types, solvated;
static Bond *bonds;
static Angle *angles;
static Torsion *torsions;
static Pair *pairs; /* i < j, row by row */
static Born *born;
static real *d0, *m0, neck_cutoff, tau, surface_factor;
static real *distance, *slope_ij, *slope_ji, *integral, *radius, *du_db;

static real dot(const real *a, const real *b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

static void cross(const real *a, const real *b, real *c) {
    c[0] = a[1] * b[2] - a[2] * b[1];
    c[1] = a[2] * b[0] - a[0] * b[2];
    c[2] = a[0] * b[1] - a[1] * b[0];
}

static void subtract(const real *a, const real *b, real *c) {
    for (int k = 0; k < 3; k++) c[k] = a[k] - b[k];
}

static double bonded(const real *x, real *f) {
    double energy = 0;
    for (const Bond *p = bonds; p < bonds + n_bonds; p++) {
        real d[3];
        subtract(x + 3 * p->i, x + 3 * p->j, d);
        real r = SQRT(dot(d, d)), stretch = r - p->r0, s = p->k * stretch / r;
        energy += R(0.5) * p->k * stretch * stretch;
        for (int k = 0; k < 3; k++) f[3 * p->i + k] -= s * d[k], f[3 * p->j + k] += s * d[k];
    }
    for (const Angle *p = angles; p < angles + n_angles; p++) {
        real u[3], v[3];
        subtract(x + 3 * p->i, x + 3 * p->j, u);
        subtract(x + 3 * p->k, x + 3 * p->j, v);
        real iu = 1 / SQRT(dot(u, u)), iv = 1 / SQRT(dot(v, v));
        real c = dot(u, v) * iu * iv;
        if (c > 1) c = 1;
        if (c < -1) c = -1;
        real bend = ACOS(c) - p->theta0, s = 1 - c * c;
        energy += R(0.5) * p->stiffness * bend * bend;
        real g = p->stiffness * bend / SQRT(s > R(1e-12) ? s : R(1e-12));
        for (int k = 0; k < 3; k++) {
            real fi = g * iu * (v[k] * iv - c * u[k] * iu), fk = g * iv * (u[k] * iu - c * v[k] * iv);
            f[3 * p->i + k] += fi;
            f[3 * p->k + k] += fk;
            f[3 * p->j + k] -= fi + fk;
        }
    }
    for (const Torsion *p = torsions; p < torsions + n_torsions; p++) {
        real b1[3], b2[3], b3[3], m[3], w[3];
        subtract(x + 3 * p->j, x + 3 * p->i, b1);
        subtract(x + 3 * p->k, x + 3 * p->j, b2);
        subtract(x + 3 * p->l, x + 3 * p->k, b3);
        cross(b1, b2, m);
        cross(b2, b3, w);
        real g2 = dot(b2, b2), g = SQRT(g2), mm = dot(m, m), ww = dot(w, w);
        real phi = ATAN2(g * dot(b1, w), dot(m, w)), argument = p->n * phi - p->phase;
        energy += p->barrier * (1 + COS(argument));
        real torque = -p->n * p->barrier * SIN(argument); /* dU/dphi */
        real ai = -torque * g / mm, al = torque * g / ww, t = dot(b1, b2) / g2, q = dot(b3, b2) / g2;
        for (int k = 0; k < 3; k++) { /* gradients */
            real gi = ai * m[k], gl = al * w[k], gj = -gi - t * gi + q * gl, gk = -gl + t * gi - q * gl;
            f[3 * p->i + k] -= gi;
            f[3 * p->j + k] -= gj;
            f[3 * p->k + k] -= gk;
            f[3 * p->l + k] -= gl;
        }
    }
    return energy;
}

/* Descreening of an atom of offset radius o by a sphere of radius s, and its slope. */
static inline real descreening(real r, real o, real s, real *slope) {
    real upper = r + s, gap = FABS(r - s);
    if (upper <= o) { *slope = 0; return 0; }
    real lower = gap > o ? gap : o, il = 1 / lower, iu = 1 / upper, ir = 1 / r;
    real squares = iu * iu - il * il, ln = LOG(lower * iu);
    *slope = R(0.5) * (R(0.25) * (1 + s * s * ir * ir) * squares - R(0.5) * ln * ir * ir);
    if (gap > o && r < s) *slope += il * il;
    return R(0.5) * (il - iu + R(0.25) * (r - s * s * ir) * squares + R(0.5) * ln * ir);
}

static double nonbonded(const real *x, real *f) {
    double energy = 0;
    int at = 0;
    if (!solvated) {
        for (int i = 0; i < n; i++)
            for (int j = i + 1; j < n; j++, at++) {
                real d[3];
                subtract(x + 3 * i, x + 3 * j, d);
                real i2 = 1 / dot(d, d), ir = SQRT(i2), i6 = i2 * i2 * i2;
                const Pair *p = pairs + at;
                energy += (p->a * i6 - p->b) * i6 + p->qq * ir;
                real s = ((12 * p->a * i6 - 6 * p->b) * i6 + p->qq * ir) * i2;
                for (int k = 0; k < 3; k++) f[3 * i + k] += s * d[k], f[3 * j + k] -= s * d[k];
            }
        return energy;
    }
    memset(integral, 0, n * sizeof(real));
    for (int i = 0; i < n; i++) {
        const Born *p = born + i;
        for (int j = i + 1; j < n; j++, at++) {
            const Born *q = born + j;
            real d[3];
            subtract(x + 3 * i, x + 3 * j, d);
            real r = SQRT(dot(d, d));
            distance[at] = r;
            integral[i] += descreening(r, p->offset_radius, q->scaled_radius, slope_ij + at);
            integral[j] += descreening(r, q->offset_radius, p->scaled_radius, slope_ji + at);
            if (n_types && r < p->radius + q->radius + neck_cutoff) {
                int ij = p->type * n_types + q->type, ji = q->type * n_types + p->type;
                real y = r - d0[ij], y2 = y * y, v = 1 / (1 + 100 * y2 + R(0.3e6) * y2 * y2 * y2);
                integral[i] += m0[ij] * v;
                slope_ij[at] -= m0[ij] * v * v * y * (200 + R(1.8e6) * y2 * y2);
                y = r - d0[ji], y2 = y * y, v = 1 / (1 + 100 * y2 + R(0.3e6) * y2 * y2 * y2);
                integral[j] += m0[ji] * v;
                slope_ji[at] -= m0[ji] * v * v * y * (200 + R(1.8e6) * y2 * y2);
            }
        }
    }
    for (int i = 0; i < n; i++) {
        const Born *p = born + i;
        real psi = integral[i] * p->offset_radius;
        real t = TANH(psi * (p->alpha - p->beta * psi + p->gamma * psi * psi));
        real b = 1 / (1 / p->offset_radius - t / p->radius);
        radius[i] = b;
        energy -= R(0.5) * tau * p->charge * p->charge / b;
        real ratio = p->radius / b, r6 = ratio * ratio * ratio * ratio * ratio * ratio;
        real area = surface_factor * (p->radius + R(0.14)) * (p->radius + R(0.14)) * r6;
        energy += area;
        du_db[i] = R(0.5) * tau * p->charge * p->charge / (b * b) - 6 * area / b;
    }
    at = 0;
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++, at++) {
            real d[3], r = distance[at], ir = 1 / r, i2 = ir * ir, i6 = i2 * i2 * i2;
            const Pair *p = pairs + at;
            energy += (p->a * i6 - p->b) * i6 + p->qq * ir;
            real s = ((12 * p->a * i6 - 6 * p->b) * i6 + p->qq * ir) * i2;
            real bb = radius[i] * radius[j], y = r * r / (4 * bb), e = EXP(-y), f2 = r * r + bb * e;
            real value = tau * born[i].charge * born[j].charge / SQRT(f2), h = value / (2 * f2);
            energy -= value;
            s -= h * (2 - R(0.5) * e);
            du_db[i] += h * e * (1 + y) * radius[j];
            du_db[j] += h * e * (1 + y) * radius[i];
            subtract(x + 3 * i, x + 3 * j, d);
            for (int k = 0; k < 3; k++) f[3 * i + k] += s * d[k], f[3 * j + k] -= s * d[k];
        }
    for (int i = 0; i < n; i++) { /* dU/dB becomes dU/dI */
        const Born *p = born + i;
        real psi = integral[i] * p->offset_radius;
        real t = TANH(psi * (p->alpha - p->beta * psi + p->gamma * psi * psi));
        real inner = (p->alpha - 2 * p->beta * psi + 3 * p->gamma * psi * psi) * p->offset_radius;
        du_db[i] *= radius[i] * radius[i] * (1 - t * t) * inner / p->radius;
    }
    at = 0;
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++, at++) {
            real d[3], s = -(du_db[i] * slope_ij[at] + du_db[j] * slope_ji[at]) / distance[at];
            subtract(x + 3 * i, x + 3 * j, d);
            for (int k = 0; k < 3; k++) f[3 * i + k] += s * d[k], f[3 * j + k] -= s * d[k];
        }
    return energy;
}

static double evaluate(const real *x, real *f) {
    memset(f, 0, 3 * n * sizeof(real));
    double energy = bonded(x, f);
    return energy + nonbonded(x, f);
}

static FILE *file;
static double number(void) {
    double value;
    if (fscanf(file, "%lf", &value) != 1) exit(2);
    return value;
}
static int count(void) { return (int)number(); }

static void read_parameters(const char *path) {
    file = fopen(path, "r");
    if (!file) exit(2);
    n = count();
    n_bonds = count(), n_angles = count(), n_torsions = count();
    bonds = malloc(n_bonds * sizeof *bonds), angles = malloc(n_angles * sizeof *angles);
    torsions = malloc(n_torsions * sizeof *torsions);
    for (Bond *p = bonds; p < bonds + n_bonds; p++) p->i = count(), p->j = count(), p->r0 = number(), p->k = number();
    for (Angle *p = angles; p < angles + n_angles; p++)
        p->i = count(), p->j = count(), p->k = count(), p->theta0 = number(), p->stiffness = number();
    for (Torsion *p = torsions; p < torsions + n_torsions; p++) {
        p->i = count(), p->j = count(), p->k = count(), p->l = count();
        p->n = count(), p->phase = number(), p->barrier = number();
    }
    int n_pairs = n * (n - 1) / 2;
    pairs = malloc(n_pairs * sizeof *pairs);
    for (Pair *p = pairs; p < pairs + n_pairs; p++) p->a = number(), p->b = number(), p->qq = number();
    solvated = count();
    if (!solvated) return;
    tau = number(), surface_factor = number();
    born = malloc(n * sizeof *born);
    for (Born *p = born; p < born + n; p++) {
        p->charge = number(), p->offset_radius = number(), p->radius = number(), p->scaled_radius = number();
        p->alpha = number(), p->beta = number(), p->gamma = number(), p->type = count();
    }
    n_types = count();
    if (n_types) {
        neck_cutoff = number();
        d0 = malloc(n_types * n_types * sizeof *d0), m0 = malloc(n_types * n_types * sizeof *m0);
        for (int k = 0; k < n_types * n_types; k++) d0[k] = number(), m0[k] = number();
    }
    distance = malloc(n_pairs * sizeof(real)), slope_ij = malloc(n_pairs * sizeof(real));
    slope_ji = malloc(n_pairs * sizeof(real)), integral = malloc(n * sizeof(real));
    radius = malloc(n * sizeof(real)), du_db = malloc(n * sizeof(real));
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

int main(int n_arguments, char **arguments) {
    if (n_arguments < 4) return 2;
    read_parameters(arguments[1]);
    int width = 3 * n, n_frames = 0, capacity = 1024;
    double *all = malloc(sizeof(double) * width * capacity);
    FILE *frames = fopen(arguments[2], "rb");
    if (!frames) return 2;
    while (n_frames < capacity && fread(all + n_frames * width, sizeof(double), width, frames) == (size_t)width)
        n_frames++;
    real *x = malloc(sizeof(real) * width * n_frames), *f = malloc(sizeof(real) * width);
    /* Relative to the first atom, so that single precision is not lost on where the molecule is. */
    for (int k = 0; k < width * n_frames; k++) x[k] = all[k] - all[k - k % width + k % 3];
    FILE *results = fopen(arguments[3], "wb");
    for (int frame = 0; frame < n_frames; frame++) {
        double energy = evaluate(x + frame * width, f);
        fwrite(&energy, sizeof energy, 1, results);
        for (int k = 0; k < width; k++) {
            double force = f[k];
            fwrite(&force, sizeof force, 1, results);
        }
    }
    fclose(results);
    puts("ready");
    fflush(stdout);
    char line[16];
    volatile double sum = 0;
    int rounds = n < 100 ? 4 : 1;
    while (fgets(line, sizeof line, stdin)) {
        double mark = cpu_seconds();
        for (int round = 0; round < rounds; round++)
            for (int frame = 0; frame < n_frames; frame++) sum += evaluate(x + frame * width, f);
        printf("%.9e\n", (cpu_seconds() - mark) / (rounds * n_frames));
        fflush(stdout);
    }
    return 0;
}
