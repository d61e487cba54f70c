/* log Z of a Lennard-Jones cluster in a harmonic well, independently of kirkwood.
 *
 *     gcc -O3 -march=native -ffast-math -o normalizer normalizer.c -lm
 *     ./normalizer N_PARTICLES N_WINDOWS N_SAMPLES SEED POWER
 *
 * u = sum over pairs of (r_m/r)^12 - 2 (r_m/r)^6, plus |x|^2/2 of every particle. r_m grows over the windows as
 * (k/(W-1))^POWER from 0, where Z is Gaussian, to 1; Metropolis moves of single particles sample each window
 * (two sweeps between samples), and Bennett's acceptance ratio joins neighbours, with an error from 20 blocks.
 * The wells stand at the origin: |x|^2/2 is the well around the centroid plus N/2 times the square of the
 * centroid, which separates, so that the ratio to the Gaussian is that of the centred space.
 *
 * Results: N 3, 12 windows, 2,000,000 samples, seed 2, power 0.5:   5.7738 +- 0.0006
 *          N 13, 32 windows, 500,000 samples, seed 1, power 0.5:   39.2517 +- 0.0056
 *          the same, seed 2:                                       39.2479 +- 0.0059
 *          the same, seed 3, power 0.35:                           39.2502 +- 0.0056
 *          N 55, 63 windows, 20,000 samples, seed 1, power 0.5:   203.800 +- 0.167
 *          N 55, 63 windows, 60,000 samples, seed 2, power 0.5:   204.011 +- 0.102
 *          N 55, 63 windows, 80,000 samples, seed 3, power 0.4:   203.847 +- 0.092
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_PARTICLES 64
#define MAX_WINDOWS 64
#define N_BLOCKS 20

static uint64_t state[4];
static int n_particles;
static double x[MAX_PARTICLES][3];

static uint64_t rotate(uint64_t value, int bits) { return (value << bits) | (value >> (64 - bits)); }

/* xoshiro256** (Blackman and Vigna 2018). */
static uint64_t next(void) {
    uint64_t result = rotate(state[1] * 5, 7) * 9, shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate(state[3], 45);
    return result;
}

static double uniform(void) { return (next() >> 11) * 0x1.0p-53; }

static double normal(void) {
    double first;
    do first = uniform();
    while (first == 0);
    return sqrt(-2 * log(first)) * cos(2 * M_PI * uniform());
}

static double pair(double square, double radius) {
    double q = radius * radius / square;
    q = q * q * q;
    return q * (q - 2);
}

static double pairs(double radius) {
    double u = 0;
    for (int i = 0; i < n_particles; i++)
        for (int j = 0; j < i; j++) {
            double a = x[i][0] - x[j][0], b = x[i][1] - x[j][1], c = x[i][2] - x[j][2];
            u += pair(a * a + b * b + c * c, radius);
        }
    return u;
}

/* One trial move; 1 if it was accepted. */
static int move(double radius, double step) {
    int i = next() % n_particles;
    double y[3], change = 0;
    for (int k = 0; k < 3; k++) {
        y[k] = x[i][k] + step * (2 * uniform() - 1);
        change += 0.5 * (y[k] * y[k] - x[i][k] * x[i][k]);
    }
    for (int j = 0; j < n_particles && radius > 0; j++) {
        if (j == i) continue;
        double before = 0, after = 0;
        for (int k = 0; k < 3; k++) {
            before += (x[i][k] - x[j][k]) * (x[i][k] - x[j][k]);
            after += (y[k] - x[j][k]) * (y[k] - x[j][k]);
        }
        change += pair(after, radius) - pair(before, radius);
    }
    if (change > 0 && uniform() >= exp(-change)) return 0;
    for (int k = 0; k < 3; k++) x[i][k] = y[k];
    return 1;
}

/* Bennett's ratio of two windows from differences of energy in both; adds the variance. */
static double bennett(const double *forward, const double *backward, long n, double *variance) {
    double low = -500, high = 500, difference = 0;
    for (int iteration = 0; iteration < 80; iteration++) {
        double excess = 0;
        difference = 0.5 * (low + high);
        for (long t = 0; t < n; t++)
            excess += 1 / (1 + exp(forward[t] - difference)) - 1 / (1 + exp(difference - backward[t]));
        if (excess < 0) low = difference;
        else high = difference;
    }
    double sum = 0, square = 0, slope = 0;
    long length = n / N_BLOCKS;
    for (int block = 0; block < N_BLOCKS; block++) {
        double mean = 0;
        for (long t = block * length; t < (block + 1) * length; t++) {
            double p = 1 / (1 + exp(forward[t] - difference)), q = 1 / (1 + exp(difference - backward[t]));
            mean += (p - q) / length;
            slope += (p * (1 - p) + q * (1 - q)) / (length * N_BLOCKS);
        }
        sum += mean;
        square += mean * mean;
    }
    double of_mean = (square / N_BLOCKS - sum * sum / N_BLOCKS / N_BLOCKS) / (N_BLOCKS - 1);
    *variance += of_mean / slope / slope;
    return difference;
}

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    n_particles = atoi(argv[1]);
    int n_windows = atoi(argv[2]), seed = atoi(argv[4]);
    long n = atol(argv[3]);
    double radius[MAX_WINDOWS];
    for (int k = 0; k < 4; k++) state[k] = seed * 7919ULL + k * 104729ULL + 1234567;
    for (int k = 0; k < 100; k++) next();
    for (int w = 0; w < n_windows; w++) radius[w] = pow((double)w / (n_windows - 1), atof(argv[5]));
    double *forward = malloc(n_windows * n * sizeof(double)), *backward = malloc(n_windows * n * sizeof(double));
    for (int i = 0; i < n_particles; i++)
        for (int k = 0; k < 3; k++) x[i][k] = normal();
    for (int w = 0; w < n_windows; w++) {
        double step = 0.5;
        long accepted = 0, tried = 0;
        for (long t = -n / 4; t < n; t++) {
            for (int m = 0; m < 2 * n_particles; m++, tried++) accepted += move(radius[w], step);
            if (t < 0 && t % 100 == 0) {
                step *= (double)accepted / tried > 0.4 ? 1.1 : 0.9;
                accepted = tried = 0;
            }
            if (t < 0) continue;
            double here = w > 0 ? pairs(radius[w]) : 0;
            forward[w * n + t] = w + 1 < n_windows ? pairs(radius[w + 1]) - here : 0;
            backward[w * n + t] = w > 0 ? here - (w > 1 ? pairs(radius[w - 1]) : 0) : 0;
        }
    }
    double free_energy = 0, variance = 0;
    for (int w = 0; w + 1 < n_windows; w++)
        free_energy += bennett(forward + w * n, backward + (w + 1) * n, n, &variance);
    double gaussian = 1.5 * (n_particles - 1) * log(2 * M_PI);
    printf("log Z %.6f +- %.6f\n", gaussian - free_energy, sqrt(variance));
}
