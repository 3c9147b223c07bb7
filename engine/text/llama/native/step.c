/* One pass of a Llama-like model over packed weights: tokens of many rows in, keys, values and logits out.

   Weights have 4 bits, in groups of 32 with a scale and a minimum (GGUF's Q4_1), the head 8 bits in groups of 32 (Q8_0).
   Activations are rounded to 8 bits in the same groups, so that a product is one of whole numbers, as in llama.cpp; keys and
   values are kept in half precision. Every number of a row is computed by the same operations in the same order whatever rows
   are beside it and however many threads there are: a row's bits never depend on its company.

   Layouts, all little-endian:
     linear layer   tiles of 16 outputs; a tile has for each group of 32 inputs the levels, then for each group the scales:
                    4 bits: 256 bytes, byte [input / 4 mod 4][output][input mod 4], inputs 0-15 in the low half, 16-31 in the
                            high one; then 16 scales and 16 minima, half precision
                    8 bits: 512 bytes, byte [input / 4][output][input mod 4], level + 128; then 16 scales
     keys           [layer][key head][position / 16][width][position mod 16], half precision
     values         [layer][key head][position][width], half precision
     adapters       down [rank][inputs], up [rank][outputs], half precision, the scaling in `up`

   Threads: the OpenMP team of the process, so that it never competes with torch's. */

#include <immintrin.h>
#include <math.h>
#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define GROUP 32
#define TILE 16
#define INLINE static inline __attribute__((always_inline))

/* --- Sixteen numbers at once ------------------------------------------------------------------------------------------- */

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)

#define ROWS_AT_ONCE 8
typedef __m512 F;
typedef __m512i I;
INLINE F f_zero(void) { return _mm512_setzero_ps(); }
INLINE F f_all(float x) { return _mm512_set1_ps(x); }
INLINE F f_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void f_store(float *p, F x) { _mm512_storeu_ps(p, x); }
INLINE F f_half(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
INLINE void f_store_half(uint16_t *p, F x) { _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, 0)); }
INLINE F f_add(F a, F b) { return _mm512_add_ps(a, b); }
INLINE F f_sub(F a, F b) { return _mm512_sub_ps(a, b); }
INLINE F f_mul(F a, F b) { return _mm512_mul_ps(a, b); }
INLINE F f_div(F a, F b) { return _mm512_div_ps(a, b); }
INLINE F f_max(F a, F b) { return _mm512_max_ps(a, b); }
INLINE F f_min(F a, F b) { return _mm512_min_ps(a, b); }
INLINE F f_fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
INLINE F f_abs(F a) { return _mm512_abs_ps(a); }
INLINE F f_round(F a) { return _mm512_roundscale_ps(a, 0); }
INLINE F f_power(F x, F n) { return _mm512_scalef_ps(x, n); } /* x times 2 to the n */
INLINE float f_sum(F a) { return _mm512_reduce_add_ps(a); }
INLINE float f_most(F a) { return _mm512_reduce_max_ps(a); }
INLINE void i_store8(int8_t *p, F x) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x))); }
INLINE I i_all(int x) { return _mm512_set1_epi32(x); }
INLINE I i_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
INLINE I i_low(I x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
INLINE I i_high(I x) { return _mm512_and_si512(_mm512_srli_epi16(x, 4), _mm512_set1_epi8(15)); }
/* sum + levels (0 … 15, or 0 … 255 with 128 taken off by the caller) times four activations, in each of 16 outputs */
INLINE I i_dot4(I sum, I levels, int four) { return _mm512_dpbusd_epi32(sum, levels, _mm512_set1_epi32(four)); }
INLINE I i_dot8(I sum, I levels, int four) { return _mm512_dpbusd_epi32(sum, levels, _mm512_set1_epi32(four)); }
INLINE I i_start8(int activations) { return _mm512_set1_epi32(-128 * activations); }
INLINE I i_add(I a, I b) { return _mm512_add_epi32(a, b); }
INLINE F f_whole(I x) { return _mm512_cvtepi32_ps(x); }

#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#define ROWS_AT_ONCE 2
typedef struct { __m256 a, b; } F;
typedef struct { __m256i a, b; } I;
#define BOTH(type, expression_a, expression_b) ((type){(expression_a), (expression_b)})
INLINE F f_zero(void) { return BOTH(F, _mm256_setzero_ps(), _mm256_setzero_ps()); }
INLINE F f_all(float x) { return BOTH(F, _mm256_set1_ps(x), _mm256_set1_ps(x)); }
INLINE F f_load(const float *p) { return BOTH(F, _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }
INLINE void f_store(float *p, F x) { _mm256_storeu_ps(p, x.a), _mm256_storeu_ps(p + 8, x.b); }
INLINE __m256 half8(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
INLINE F f_half(const uint16_t *p) { return BOTH(F, half8(p), half8(p + 8)); }
INLINE void f_store_half(uint16_t *p, F x)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x.a, 0));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(x.b, 0));
}
INLINE F f_add(F a, F b) { return BOTH(F, _mm256_add_ps(a.a, b.a), _mm256_add_ps(a.b, b.b)); }
INLINE F f_sub(F a, F b) { return BOTH(F, _mm256_sub_ps(a.a, b.a), _mm256_sub_ps(a.b, b.b)); }
INLINE F f_mul(F a, F b) { return BOTH(F, _mm256_mul_ps(a.a, b.a), _mm256_mul_ps(a.b, b.b)); }
INLINE F f_div(F a, F b) { return BOTH(F, _mm256_div_ps(a.a, b.a), _mm256_div_ps(a.b, b.b)); }
INLINE F f_max(F a, F b) { return BOTH(F, _mm256_max_ps(a.a, b.a), _mm256_max_ps(a.b, b.b)); }
INLINE F f_min(F a, F b) { return BOTH(F, _mm256_min_ps(a.a, b.a), _mm256_min_ps(a.b, b.b)); }
INLINE F f_fma(F a, F b, F c) { return BOTH(F, _mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b)); }
INLINE F f_abs(F a)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return BOTH(F, _mm256_andnot_ps(sign, a.a), _mm256_andnot_ps(sign, a.b));
}
INLINE F f_round(F a) { return BOTH(F, _mm256_round_ps(a.a, 8), _mm256_round_ps(a.b, 8)); }
INLINE __m256 power8(__m256 x, __m256 n)
{
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
INLINE F f_power(F x, F n) { return BOTH(F, power8(x.a, n.a), power8(x.b, n.b)); }
INLINE float f_sum(F a)
{
    __m256 s = _mm256_add_ps(a.a, a.b);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
INLINE float f_most(F a)
{
    __m256 s = _mm256_max_ps(a.a, a.b);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
}
INLINE void i_store8(int8_t *p, F x)
{
    __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));
    words = _mm256_permute4x64_epi64(words, 0xD8);
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(words, words), 0xD8);
    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(bytes));
}
INLINE I i_all(int x) { return BOTH(I, _mm256_set1_epi32(x), _mm256_set1_epi32(x)); }
INLINE I i_load(const uint8_t *p)
{
    return BOTH(I, _mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 32)));
}
INLINE __m256i low8(__m256i x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
INLINE I i_low(I x) { return BOTH(I, low8(x.a), low8(x.b)); }
INLINE I i_high(I x) { return BOTH(I, low8(_mm256_srli_epi16(x.a, 4)), low8(_mm256_srli_epi16(x.b, 4))); }
INLINE __m256i pairs8(__m256i sum, __m256i unsigned_levels, __m256i activations)
{
    __m256i words = _mm256_maddubs_epi16(unsigned_levels, activations);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
}
INLINE I i_dot4(I sum, I levels, int four)
{
    const __m256i all = _mm256_set1_epi32(four);
    return BOTH(I, pairs8(sum.a, levels.a, all), pairs8(sum.b, levels.b, all));
}
/* Bytes up to 255 would overflow 16 bits: sizes go to one side, signs to the other. */
INLINE __m256i signed8(__m256i sum, __m256i levels, __m256i activations)
{
    levels = _mm256_xor_si256(levels, _mm256_set1_epi8((char)0x80));
    return pairs8(sum, _mm256_abs_epi8(levels), _mm256_sign_epi8(activations, levels));
}
INLINE I i_dot8(I sum, I levels, int four)
{
    const __m256i all = _mm256_set1_epi32(four);
    return BOTH(I, signed8(sum.a, levels.a, all), signed8(sum.b, levels.b, all));
}
INLINE I i_start8(int activations) { return (void)activations, i_all(0); }
INLINE I i_add(I a, I b) { return BOTH(I, _mm256_add_epi32(a.a, b.a), _mm256_add_epi32(a.b, b.b)); }
INLINE F f_whole(I x) { return BOTH(F, _mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)); }

#else
#error "this CPU has none of the instructions that make whole-number products fast"
#endif

/* e to the x, 1e-7 near (Cephes: Moshier, "Methods and Programs for Mathematical Functions", 1989). */
INLINE F f_exp(F x)
{
    x = f_min(f_max(x, f_all(-87.0f)), f_all(88.0f));
    F n = f_round(f_mul(x, f_all(1.44269504f)));
    F r = f_fma(n, f_all(-0.693359375f), x);
    r = f_fma(n, f_all(2.12194440e-4f), r);
    F p = f_fma(f_all(1.9875691500e-4f), r, f_all(1.3981999507e-3f));
    p = f_fma(p, r, f_all(8.3334519073e-3f));
    p = f_fma(p, r, f_all(4.1665795894e-2f));
    p = f_fma(p, r, f_all(1.6666665459e-1f));
    p = f_fma(p, r, f_all(5.0000001201e-1f));
    p = f_add(f_fma(f_mul(r, r), p, r), f_all(1.0f));
    return f_power(p, n);
}

/* --- What Python passes (engine/text/llama/native/library.py has the same structures) ------------------------------------- */

typedef struct { const uint8_t *tiles; int32_t out, in, bits, unused; } Linear;
typedef struct {
    const float *attention_norm, *mlp_norm;
    Linear qkv, attention_out, gate_up, down;
    const float *qkv_bias, *query_norm, *key_norm; /* NULL in most kinds of models */
    int64_t is_turned;
} Layer;
typedef struct {
    const Layer *layers;
    const float *norm, *cosines, *sines; /* tables [position][width], the first half of the sines negative */
    Linear embedding, head; /* in 8 bits; the same tiles when they are tied */
    int32_t count, hidden, heads, kv_heads, width, intermediate;
    float epsilon, unused;
    void *memory; /* what passes work in, kept between them; NULL at first */
    int64_t memory_size;
} Model;
typedef struct { const uint16_t *down, *up; int64_t rank; } Term;
typedef struct { Term qkv, attention_out, gate_up, down; } Terms;
typedef struct {
    const int32_t *ids;
    uint16_t *keys, *values; /* of one row, all layers */
    const Terms *terms;      /* an adapter's, for each layer, or NULL */
    int32_t capacity, position, count, has_logits; /* tokens there is room for; the first one's place; how many come */
} Span;

/* --- A team that goes through the phases together ------------------------------------------------------------------------- */

typedef struct { _Alignas(64) atomic_int next; } Counter;
typedef struct {
    int size;
    Counter *phases; /* one for each phase of a pass, zero at its beginning */
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_int round;
} Team;

static void meet(Team *team)
{
    if (team->size == 1)
        return;
    const int round = atomic_load_explicit(&team->round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) == team->size - 1) {
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&team->round, round + 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&team->round, memory_order_acquire) == round; spins++) {
        if (spins < 4000)
            _mm_pause();
        else
            sched_yield(); /* the other one has lost its core */
    }
}

/* Whoever is free takes the next piece: a thread that is slowed down by other work holds nobody up for long. */
#define EACH(unit, total, piece)                                                                                                \
    for (int begin_; (begin_ = atomic_fetch_add_explicit(&team->phases[phase].next, (piece), memory_order_relaxed)) < (total);) \
        for (int unit = begin_; unit < (total) && unit < begin_ + (piece); unit++)

/* --- Activations in 8 bits ----------------------------------------------------------------------------------------------- */

/* Groups of up to eight rows, so that what a product needs next lies together. */
#define BLOCK 8
typedef struct {
    int8_t levels[BLOCK][GROUP];
    float scales[BLOCK], sums[BLOCK]; /* sums of the rounded activations, with their scale */
    int32_t wholes[BLOCK];            /* and without */
} Rounded;

INLINE void round_group(const float *x, Rounded *blocks, int row, int in, int group)
{
    Rounded *to = blocks + (size_t)(row / BLOCK) * (in / GROUP) + group;
    F a = f_load(x), b = f_load(x + TILE);
    const float most = f_most(f_max(f_abs(a), f_abs(b)));
    const float scale = most / 127.0f;
    const F inverse = f_all(most > 0 ? 127.0f / most : 0.0f);
    a = f_round(f_mul(a, inverse)), b = f_round(f_mul(b, inverse));
    row %= BLOCK;
    i_store8(to->levels[row], a), i_store8(to->levels[row] + TILE, b);
    const float whole = f_sum(f_add(a, b));
    to->scales[row] = scale;
    to->sums[row] = whole * scale;
    to->wholes[row] = (int32_t)whole;
}

static void round_row(const float *x, Rounded *blocks, int row, int in)
{
    for (int group = 0; group < in / GROUP; group++)
        round_group(x + group * GROUP, blocks, row, in, group);
}

/* Root mean square normalisation (Zhang and Sennrich, arXiv:1910.07467). */
static void normed_row(const float *x, const float *weight, float *to, int size, float epsilon)
{
    F squares = f_zero();
    for (int i = 0; i < size; i += TILE) {
        const F v = f_load(x + i);
        squares = f_fma(v, v, squares);
    }
    const F scale = f_all(1.0f / sqrtf(f_sum(squares) / size + epsilon));
    for (int i = 0; i < size; i += TILE)
        f_store(to + i, f_mul(f_mul(f_load(x + i), scale), f_load(weight + i)));
}

typedef struct { const Span *span; int position, id; } Row;

/* What the row's adapter adds to one of a block's linear layers, or NULL. */
INLINE const Term *term_of(const Row *row, int layer, int linear)
{
    return row->span->terms ? &row->span->terms[layer].qkv + linear : NULL;
}

/* --- Linear layers ------------------------------------------------------------------------------------------------------- */

typedef struct {
    const Linear *linear;
    const Rounded *in;  /* [blocks of rows][groups] */
    const Row *rows;
    int layer, which; /* of the model's linear layers, for the adapters' terms */
    const float *low; /* what `down` made of each row, [rows][most]; NULL = nobody has an adapter */
    int most;
    float *out;
    int stride;
    int is_added; /* to what is in `out` */
} Product;

/* What `count` rows from `row` on, all of one block, have in one tile of outputs. */
INLINE void tile_product(const Product *p, int tile, int row, const int count, const int bits)
{
    const int groups = p->linear->in / GROUP, first = row % BLOCK;
    const size_t size = bits == 4 ? 256 : 512, grid_size = (bits == 4 ? 2 : 1) * TILE;
    const uint8_t *levels = p->linear->tiles + tile * groups * (size + 2 * grid_size);
    const uint16_t *grid = (const uint16_t *)(levels + groups * size);
    const Rounded *x = p->in + (size_t)(row / BLOCK) * groups;
    F sums[ROWS_AT_ONCE];
    for (int r = 0; r < count; r++)
        sums[r] = f_zero();
    for (int group = 0; group < groups; group++, x++, levels += size, grid += grid_size) {
        const F scale = f_half(grid);
        I w[8];
        for (int j = 0; bits == 4 && j < 4; j++) {
            const I both = i_load(levels + j * 64);
            w[j] = i_low(both), w[j + 4] = i_high(both);
        }
        for (int j = 0; bits == 8 && j < 8; j++)
            w[j] = i_load(levels + j * 64);
        for (int r = 0; r < count; r++) {
            const int8_t *own = x->levels[first + r];
            I whole = bits == 4 ? i_all(0) : i_start8(x->wholes[first + r]);
            for (int j = 0; j < 8; j++) {
                int four;
                memcpy(&four, own + 4 * j, 4);
                whole = bits == 4 ? i_dot4(whole, w[j], four) : i_dot8(whole, w[j], four);
            }
            sums[r] = f_fma(f_whole(whole), f_mul(scale, f_all(x->scales[first + r])), sums[r]);
            if (bits == 4)
                sums[r] = f_fma(f_half(grid + TILE), f_all(x->sums[first + r]), sums[r]);
        }
    }
    for (int r = 0; r < count; r++) {
        F sum = sums[r];
        const Term *term = p->low ? term_of(p->rows + row + r, p->layer, p->which) : NULL;
        for (int k = 0; term && k < term->rank; k++) {
            const F up = f_half(term->up + (size_t)k * p->linear->out + tile * TILE);
            sum = f_fma(f_all(p->low[(size_t)(row + r) * p->most + k]), up, sum);
        }
        float *to = p->out + (size_t)(row + r) * p->stride + tile * TILE;
        f_store(to, p->is_added ? f_add(f_load(to), sum) : sum);
    }
}

INLINE void tile_rows(const Product *p, int tile, int rows, const int bits)
{
    int row = 0;
    for (; row + ROWS_AT_ONCE <= rows; row += ROWS_AT_ONCE)
        tile_product(p, tile, row, ROWS_AT_ONCE, bits);
#if ROWS_AT_ONCE > 4
    for (; row + 4 <= rows; row += 4)
        tile_product(p, tile, row, 4, bits);
#endif
    for (; row + 2 <= rows; row += 2)
        tile_product(p, tile, row, 2, bits);
    for (; row < rows; row++)
        tile_product(p, tile, row, 1, bits);
}

static void product(Team *team, int phase, const Product *p, int rows)
{
    const int tiles = (p->linear->out + TILE - 1) / TILE;
    int piece = tiles / (8 * team->size);
    piece = piece < 1 ? 1 : piece > 64 ? 64 : piece;
    EACH(tile, tiles, piece)
    {
        if (p->linear->bits == 4)
            tile_rows(p, tile, rows, 4);
        else
            tile_rows(p, tile, rows, 8);
    }
    meet(team);
}

#define LOWERED_AT_ONCE 4 /* pieces of one row, for several threads */

/* What an adapter's `down` makes of each row. */
static void lowered(Team *team, int phase, const Product *p, const float *x, float *low, int rows)
{
    EACH(unit, rows * LOWERED_AT_ONCE, 1) {
        const int row = unit / LOWERED_AT_ONCE;
        const Term *term = term_of(p->rows + row, p->layer, p->which);
        const int in = p->linear->in;
        const float *own = x + (size_t)row * in;
        for (int k = unit % LOWERED_AT_ONCE; term && k < term->rank; k += LOWERED_AT_ONCE) {
            const uint16_t *down = term->down + (size_t)k * in;
            F sum = f_zero();
            for (int i = 0; i < in; i += TILE)
                sum = f_fma(f_load(own + i), f_half(down + i), sum);
            low[(size_t)row * p->most + k] = f_sum(sum);
        }
    }
    meet(team);
}

/* --- Attention ----------------------------------------------------------------------------------------------------------- */

#define HEADS_AT_ONCE 4

/* Scores of up to four query heads for positions 0 … last, those of a key head; [heads][room]. */
INLINE void scores_of(
    const float *query, const uint16_t *keys, int width, int last, float scale, float *scores, int room, const int heads)
{
    for (int block = 0; block <= last / TILE; block++, keys += TILE * width) {
        F even[HEADS_AT_ONCE], odd[HEADS_AT_ONCE];
        for (int h = 0; h < heads; h++)
            even[h] = odd[h] = f_zero();
        for (int d = 0; d < width; d += 2) {
            const F one = f_half(keys + d * TILE), other = f_half(keys + (d + 1) * TILE);
            for (int h = 0; h < heads; h++) {
                even[h] = f_fma(one, f_all(query[h * width + d]), even[h]);
                odd[h] = f_fma(other, f_all(query[h * width + d + 1]), odd[h]);
            }
        }
        for (int h = 0; h < heads; h++)
            f_store(scores + (size_t)h * room + block * TILE, f_mul(f_add(even[h], odd[h]), f_all(scale)));
    }
}

/* Sums of values by their shares, 64 or fewer numbers of each head at a time. */
INLINE void values_of(
    const float *shares, int room, const uint16_t *values, int width, int last, float *out, const int heads, const int parts)
{
    F sums[HEADS_AT_ONCE][4];
    for (int h = 0; h < heads; h++)
        for (int k = 0; k < parts; k++)
            sums[h][k] = f_zero();
    for (int t = 0; t <= last; t++, values += width) {
        F value[4];
        for (int k = 0; k < parts; k++)
            value[k] = f_half(values + k * TILE);
        for (int h = 0; h < heads; h++)
            for (int k = 0; k < parts; k++)
                sums[h][k] = f_fma(value[k], f_all(shares[(size_t)h * room + t]), sums[h][k]);
    }
    for (int h = 0; h < heads; h++)
        for (int k = 0; k < parts; k++)
            f_store(out + h * width + k * TILE, sums[h][k]);
}

static void softmax(float *scores, int last)
{
    const int padded = (last / TILE + 1) * TILE;
    for (int t = last + 1; t < padded; t++)
        scores[t] = -INFINITY; /* no token is there yet */
    F most = f_load(scores);
    for (int t = TILE; t < padded; t += TILE)
        most = f_max(most, f_load(scores + t));
    const F highest = f_all(f_most(most));
    F sum = f_zero();
    for (int t = 0; t < padded; t += TILE) {
        const F share = f_exp(f_sub(f_load(scores + t), highest));
        f_store(scores + t, share);
        sum = f_add(sum, share);
    }
    const F whole = f_all(1.0f / f_sum(sum));
    for (int t = 0; t < padded; t += TILE)
        f_store(scores + t, f_mul(f_load(scores + t), whole));
}

/* The query heads of one key head of one row. `scores`: room for HEADS_AT_ONCE x room. */
static void attend(
    const float *query, const uint16_t *keys, const uint16_t *values, int width, int heads, int last, float *scores, int room,
    float *out)
{
    const float scale = 1.0f / sqrtf((float)width);
    for (int first = 0; first < heads; first += HEADS_AT_ONCE) {
        const int count = heads - first < HEADS_AT_ONCE ? heads - first : HEADS_AT_ONCE;
        const float *asked = query + first * width;
        float *to = out + first * width;
#define OF(n)                                                                                               \
    case n:                                                                                                 \
        scores_of(asked, keys, width, last, scale, scores, room, n);                                        \
        for (int h = 0; h < n; h++)                                                                         \
            softmax(scores + (size_t)h * room, last);                                                       \
        for (int d = 0; d < width; d += 64) {                                                               \
            if (width - d >= 64)                                                                            \
                values_of(scores, room, values + d, width, last, to + d, n, 4);                             \
            else                                                                                            \
                for (int k = d; k < width; k += TILE)                                                       \
                    values_of(scores, room, values + k, width, last, to + k, n, 1);                         \
        }                                                                                                   \
        break;
        switch (count) { OF(1) OF(2) OF(3) OF(4) }
#undef OF
    }
}

/* --- A pass -------------------------------------------------------------------------------------------------------------- */

typedef struct {
    const Model *model;
    const Row *rows;
    const Row *last_rows; /* those whose logits are wanted, with `places` in `rows` */
    const int *places;
    int count, last_count, most, room, qkv_size;
    float *x, *last_x, *normed, *qkv, *seen, *gate_up, *low, *scores, *logits;
    Rounded *rounded; /* [blocks of rows][groups], of whatever the next product reads */
} Pass;

/* The embeddings of the tokens (in the layout of a linear layer in 8 bits). */
static void embedded_phase(Team *team, int phase, const Pass *pass)
{
    const int hidden = pass->model->hidden, groups = hidden / GROUP;
    EACH(row, pass->count, 1) {
        const int tile = pass->rows[row].id / TILE, output = pass->rows[row].id % TILE;
        const uint8_t *levels = pass->model->embedding.tiles + (size_t)tile * groups * (512 + 2 * TILE);
        const uint16_t *grid = (const uint16_t *)(levels + (size_t)groups * 512);
        float *to = pass->x + (size_t)row * hidden;
        for (int group = 0; group < groups; group++, levels += 512, grid += TILE) {
            float scales[TILE];
            f_store(scales, f_half(grid));
            for (int i = 0; i < GROUP; i++)
                to[group * GROUP + i] = (levels[i / 4 * 64 + output * 4 + i % 4] - 128) * scales[output];
        }
    }
    meet(team);
}

static void normed_phase(Team *team, int phase, const Pass *pass, const float *x, const float *weight, int rows)
{
    const Model *m = pass->model;
    EACH(row, rows, 1) {
        float *to = pass->normed + (size_t)row * m->hidden;
        normed_row(x + (size_t)row * m->hidden, weight, to, m->hidden, m->epsilon);
        round_row(to, pass->rounded, row, m->hidden);
    }
    meet(team);
}

static void turned(float *head, const float *cosines, const float *sines, int width)
{
    const int half = width / 2;
    for (int i = 0; i < half; i++) {
        const float a = head[i], b = head[i + half];
        head[i] = fmaf(b, sines[i], a * cosines[i]);
        head[i + half] = fmaf(a, sines[i + half], b * cosines[i + half]);
    }
}

/* Turns queries and keys by their places (Su et al., arXiv:2104.09864) and appends keys and values. */
static void append_phase(Team *team, int phase, const Pass *pass, int layer)
{
    const Model *m = pass->model;
    const Layer *l = m->layers + layer;
    const int width = m->width;
    EACH(row, pass->count, 1) {
        const Span *span = pass->rows[row].span;
        const int position = pass->rows[row].position;
        float *own = pass->qkv + (size_t)row * pass->qkv_size;
        for (int i = 0; l->qkv_bias && i < pass->qkv_size; i += TILE)
            f_store(own + i, f_add(f_load(own + i), f_load(l->qkv_bias + i)));
        for (int head = 0; head < m->heads + m->kv_heads; head++) {
            float *one = own + head * width;
            if (l->query_norm)
                normed_row(one, head < m->heads ? l->query_norm : l->key_norm, one, width, m->epsilon);
            if (l->is_turned)
                turned(one, m->cosines + (size_t)position * width, m->sines + (size_t)position * width, width);
        }
        for (int head = 0; head < m->kv_heads; head++) {
            const size_t place = ((size_t)layer * m->kv_heads + head) * span->capacity * width;
            const float *key = own + (m->heads + head) * width, *value = key + m->kv_heads * width;
            uint16_t *keys = span->keys + place + (size_t)(position / TILE) * TILE * width + position % TILE;
            uint16_t *values = span->values + place + (size_t)position * width;
            for (int d = 0; d < width; d += TILE) {
                uint16_t halves[TILE];
                f_store_half(halves, f_load(key + d));
                for (int k = 0; k < TILE; k++)
                    keys[(d + k) * TILE] = halves[k];
                f_store_half(values + d, f_load(value + d));
            }
        }
    }
    meet(team);
}

static void attention_phase(
    Team *team, int phase, int thread, const Pass *pass, int layer, const Row *rows, const int *places, int count)
{
    const Model *m = pass->model;
    const int width = m->width, group = m->heads / m->kv_heads, size = m->heads * width;
    float *scores = pass->scores + (size_t)thread * HEADS_AT_ONCE * pass->room;
    EACH(unit, count * m->kv_heads, 1) {
        const int row = count - 1 - unit / m->kv_heads, head = unit % m->kv_heads; /* the longest first */
        const Span *span = rows[row].span;
        const size_t place = ((size_t)layer * m->kv_heads + head) * span->capacity * width;
        const float *query = pass->qkv + (size_t)(places ? places[row] : row) * pass->qkv_size + head * group * width;
        float *to = pass->seen + (size_t)row * size + head * group * width;
        attend(query, span->keys + place, span->values + place, width, group, rows[row].position, scores, pass->room, to);
    }
    meet(team);
}

static void rounded_phase(Team *team, int phase, const Pass *pass, const float *x, int in, int rows)
{
    EACH(row, rows, 1) round_row(x + (size_t)row * in, pass->rounded, row, in);
    meet(team);
}

/* SiLU of the gate times up (Shazeer, arXiv:2002.05202), rounded. */
static void gated_phase(Team *team, int phase, const Pass *pass, int rows)
{
    const int size = pass->model->intermediate, groups = size / GROUP, piece = 8, pieces = (groups + piece - 1) / piece;
    EACH(unit, rows * pieces, 1) {
        const int row = unit / pieces, from = unit % pieces * piece;
        float *gate = pass->gate_up + (size_t)row * 2 * size, *to = pass->seen + (size_t)row * size;
        for (int group = from; group < groups && group < from + piece; group++) {
            for (int i = group * GROUP; i < (group + 1) * GROUP; i += TILE) {
                const F g = f_load(gate + i), falling = f_exp(f_sub(f_zero(), g));
                f_store(to + i, f_mul(f_div(g, f_add(f_all(1.0f), falling)), f_load(gate + size + i)));
            }
            round_group(to + group * GROUP, pass->rounded, row, size, group);
        }
    }
    meet(team);
}

enum { QKV, ATTENTION_OUT, GATE_UP, DOWN }; /* a block's linear layers, in the order of Layer and Terms */

#define PHASES_OF_LAYER 15 /* counters that `run` uses for each layer */

/* One of a block's linear layers over what was rounded from `x`, with the adapters' terms. Takes two phases. */
static void linear(
    Team *team, int phase, const Pass *pass, int layer, int which, const Row *rows, const float *x, float *out, int is_added,
    int count)
{
    const Linear *own = &pass->model->layers[layer].qkv + which;
    const float *low = pass->most ? pass->low : NULL;
    const Product p = {own, pass->rounded, rows, layer, which, low, pass->most, out, own->out, is_added};
    if (p.low)
        lowered(team, phase, &p, x, pass->low, count);
    product(team, phase + 1, &p, count);
}

static void run(Team *team, int thread, const Pass *pass)
{
    const Model *m = pass->model;
    embedded_phase(team, m->count * PHASES_OF_LAYER, pass);
    for (int layer = 0; layer < m->count; layer++) {
        const Layer *l = m->layers + layer;
        const int is_last = layer == m->count - 1;
        /* Behind the last layer's keys and values only those go on whose logits are wanted. */
        const Row *rows = is_last ? pass->last_rows : pass->rows;
        const int count = is_last ? pass->last_count : pass->count;
        float *x = is_last ? pass->last_x : pass->x;
        int phase = layer * PHASES_OF_LAYER;
        normed_phase(team, phase++, pass, pass->x, l->attention_norm, pass->count);
        linear(team, phase, pass, layer, QKV, pass->rows, pass->normed, pass->qkv, 0, pass->count);
        phase += 2;
        append_phase(team, phase++, pass, layer);
        if (!count)
            return;
        attention_phase(team, phase++, thread, pass, layer, rows, is_last ? pass->places : NULL, count);
        rounded_phase(team, phase++, pass, pass->seen, m->heads * m->width, count);
        if (is_last) {
            const size_t size = m->hidden;
            EACH(row, count, 1) memcpy(x + row * size, pass->x + pass->places[row] * size, size * sizeof(float));
            meet(team);
        }
        phase++;
        linear(team, phase, pass, layer, ATTENTION_OUT, rows, pass->seen, x, 1, count);
        phase += 2;
        normed_phase(team, phase++, pass, x, l->mlp_norm, count);
        linear(team, phase, pass, layer, GATE_UP, rows, pass->normed, pass->gate_up, 0, count);
        phase += 2;
        gated_phase(team, phase++, pass, count);
        linear(team, phase, pass, layer, DOWN, rows, pass->seen, x, 1, count);
    }
    const int phase = m->count * PHASES_OF_LAYER + 1;
    normed_phase(team, phase, pass, pass->last_x, m->norm, pass->last_count);
    const int stride = (m->head.out + TILE - 1) / TILE * TILE;
    const Product head = {.linear = &m->head, .in = pass->rounded, .out = pass->logits, .stride = stride};
    product(team, phase + 1, &head, pass->last_count);
}

/* Bytes for `count` numbers of 4 bytes, in whole lines of the cache. */
static size_t lines(size_t count)
{
    return (count * 4 + 63) / 64 * 64;
}

/* Gives back the memory that passes have kept. */
void tastemaker_release(Model *model)
{
    free(model->memory);
    model->memory = NULL;
    model->memory_size = 0;
}

/* Appends the tokens of all spans to their rows and computes the logits of those that want them.

   logits: [tokens that want them][vocabulary, in whole tiles]. A row that is given several times gets its tokens one behind the
   other. 0, or -1 when there is no memory: nothing was computed then. */
int tastemaker_pass(Model *model, const Span *spans, int span_count, float *logits, int threads)
{
    Pass pass = {.model = model, .logits = logits};
    for (int s = 0; s < span_count; s++) {
        pass.count += spans[s].count;
        pass.last_count += spans[s].has_logits ? spans[s].count : 0;
        const int room = (spans[s].position + spans[s].count + TILE - 1) / TILE * TILE;
        pass.room = room > pass.room ? room : pass.room;
        for (int layer = 0; spans[s].terms && layer < model->count; layer++) {
            const Term *terms = &spans[s].terms[layer].qkv;
            for (int k = 0; k < 4; k++)
                pass.most = terms[k].rank > pass.most ? (int)terms[k].rank : pass.most;
        }
    }
    const size_t count = pass.count, last = pass.last_count;
    const size_t attention = (size_t)model->heads * model->width, middle = model->intermediate;
    const size_t widest = attention > middle ? attention : middle, hidden = model->hidden, in = widest > hidden ? widest : hidden;
    const size_t phases = (size_t)model->count * PHASES_OF_LAYER + 3;
    pass.qkv_size = (model->heads + 2 * model->kv_heads) * model->width;
    const size_t sizes[] = {
        phases * sizeof(Counter) / 4,
        count * sizeof(Row) / 4,
        last * sizeof(Row) / 4,
        last, /* ints */
        last * hidden,
        count * hidden,
        count * hidden,
        count * pass.qkv_size,
        count * widest,
        count * 2 * model->intermediate,
        count * pass.most,
        (size_t)threads * HEADS_AT_ONCE * pass.room,
        (count + BLOCK - 1) / BLOCK * (in / GROUP) * sizeof(Rounded) / 4,
    };
    enum { PARTS = sizeof(sizes) / sizeof(sizes[0]) };
    size_t total = 0;
    for (int k = 0; k < PARTS; k++)
        total += lines(sizes[k]);
    if (total > (size_t)model->memory_size) {
        tastemaker_release(model);
        model->memory = aligned_alloc(64, total);
        if (!model->memory)
            return -1;
        model->memory_size = total;
    }
    char *parts[PARTS], *next = model->memory;
    for (int k = 0; k < PARTS; k++)
        parts[k] = next, next += lines(sizes[k]);
    memset(parts[0], 0, phases * sizeof(Counter));
    Row *rows = (Row *)parts[1], *last_rows = (Row *)parts[2];
    int *places = (int *)parts[3];
    int row = 0, wanted = 0;
    for (int s = 0; s < span_count; s++)
        for (int k = 0; k < spans[s].count; k++, row++) {
            rows[row] = (Row){spans + s, spans[s].position + k, spans[s].ids[k]};
            if (spans[s].has_logits)
                last_rows[wanted] = rows[row], places[wanted++] = row;
        }
    pass.rows = rows, pass.last_rows = last_rows, pass.places = places;
    pass.last_x = (float *)parts[4], pass.x = (float *)parts[5], pass.normed = (float *)parts[6], pass.qkv = (float *)parts[7];
    pass.seen = (float *)parts[8], pass.gate_up = (float *)parts[9], pass.low = (float *)parts[10];
    pass.scores = (float *)parts[11], pass.rounded = (Rounded *)parts[12];
    Team team = {.phases = (Counter *)parts[0]};
#pragma omp parallel num_threads(threads)
    {
#pragma omp single
        team.size = omp_get_num_threads();
        run(&team, omp_get_thread_num(), &pass);
    }
    return 0;
}
