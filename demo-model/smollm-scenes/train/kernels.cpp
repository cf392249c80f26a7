// What the 8-bit linear layers need around torch._int_mm, one pass over memory each.
#include <torch/extension.h>
#include <cmath>

// x [rows, width] float32 -> int8 [rows, width] and the value of one level [rows].
std::vector<at::Tensor> quantise(const at::Tensor& x) {
  const int64_t rows = x.size(0), width = x.size(1);
  auto levels = at::empty({rows, width}, x.options().dtype(at::kChar));
  auto scales = at::empty({rows}, x.options());
  const float* in = x.data_ptr<float>();
  int8_t* out = levels.data_ptr<int8_t>();
  float* scale = scales.data_ptr<float>();
  for (int64_t r = 0; r < rows; r++) {
    const float* row = in + r * width;
    float largest = 1e-30f;
    for (int64_t i = 0; i < width; i++) largest = std::max(largest, std::fabs(row[i]));
    const float factor = 127.0f / largest;
    scale[r] = largest / 127.0f;
    int8_t* to = out + r * width;
    for (int64_t i = 0; i < width; i++) to[i] = (int8_t)(int32_t)std::nearbyintf(row[i] * factor);
  }
  return {levels, scales};
}

// sums [rows, width] int32 -> sums * of_row[rows] * of_column[width], float32.
at::Tensor scaled(const at::Tensor& sums, const at::Tensor& of_row, const at::Tensor& of_column) {
  const int64_t rows = sums.size(0), width = sums.size(1);
  auto result = at::empty({rows, width}, of_row.options());
  const int32_t* in = sums.data_ptr<int32_t>();
  const float *by_row = of_row.data_ptr<float>(), *by_column = of_column.data_ptr<float>();
  float* out = result.data_ptr<float>();
  for (int64_t r = 0; r < rows; r++) {
    const float factor = by_row[r];
    for (int64_t i = 0; i < width; i++) out[r * width + i] = (float)in[r * width + i] * (factor * by_column[i]);
  }
  return result;
}

static inline float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

// both [rows, 2 * width], gate then up -> silu(gate) * up [rows, width]
at::Tensor swiglu(const at::Tensor& both) {
  const int64_t rows = both.size(0), width = both.size(1) / 2;
  auto result = at::empty({rows, width}, both.options());
  const float* in = both.data_ptr<float>();
  float* out = result.data_ptr<float>();
  for (int64_t r = 0; r < rows; r++) {
    const float *gate = in + r * 2 * width, *up = gate + width;
    for (int64_t i = 0; i < width; i++) out[r * width + i] = gate[i] * sigmoid(gate[i]) * up[i];
  }
  return result;
}

at::Tensor swiglu_backward(const at::Tensor& both, const at::Tensor& gradient) {
  const int64_t rows = both.size(0), width = both.size(1) / 2;
  auto result = at::empty_like(both);
  const float *in = both.data_ptr<float>(), *g = gradient.data_ptr<float>();
  float* out = result.data_ptr<float>();
  for (int64_t r = 0; r < rows; r++) {
    const float *gate = in + r * 2 * width, *up = gate + width, *from = g + r * width;
    float *to_gate = out + r * 2 * width, *to_up = to_gate + width;
    for (int64_t i = 0; i < width; i++) {
      const float s = sigmoid(gate[i]);
      to_up[i] = from[i] * gate[i] * s;
      to_gate[i] = from[i] * up[i] * s * (1.0f + gate[i] * (1.0f - s));
    }
  }
  return result;
}

// x [rows, width] -> x / rms(x) * weight, and 1 / rms(x) [rows]
std::vector<at::Tensor> rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  const int64_t rows = x.size(0), width = x.size(1);
  auto result = at::empty_like(x);
  auto inverses = at::empty({rows}, x.options());
  const float *in = x.data_ptr<float>(), *w = weight.data_ptr<float>();
  float *out = result.data_ptr<float>(), *inverse = inverses.data_ptr<float>();
  for (int64_t r = 0; r < rows; r++) {
    const float* row = in + r * width;
    float sum = 0;
    for (int64_t i = 0; i < width; i++) sum += row[i] * row[i];
    inverse[r] = 1.0f / std::sqrt(sum / width + (float)epsilon);
    for (int64_t i = 0; i < width; i++) out[r * width + i] = row[i] * inverse[r] * w[i];
  }
  return {result, inverses};
}

// -> gradients of x and of the weight
std::vector<at::Tensor> rms_norm_backward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& inverses, const at::Tensor& gradient) {
  const int64_t rows = x.size(0), width = x.size(1);
  auto result = at::empty_like(x);
  auto of_weight = at::zeros_like(weight);
  const float *in = x.data_ptr<float>(), *w = weight.data_ptr<float>(), *g = gradient.data_ptr<float>(), *inverse = inverses.data_ptr<float>();
  float *out = result.data_ptr<float>(), *gw = of_weight.data_ptr<float>();
  for (int64_t r = 0; r < rows; r++) {
    const float *row = in + r * width, *from = g + r * width;
    float dot = 0;
    for (int64_t i = 0; i < width; i++) dot += from[i] * w[i] * row[i];
    const float s = inverse[r], back = dot * s * s * s / width;
    for (int64_t i = 0; i < width; i++) {
      out[r * width + i] = from[i] * w[i] * s - row[i] * back;
      gw[i] += from[i] * row[i] * s;
    }
  }
  return {result, of_weight};
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("quantise", &quantise);
  m.def("scaled", &scaled);
  m.def("swiglu", &swiglu);
  m.def("swiglu_backward", &swiglu_backward);
  m.def("rms_norm", &rms_norm);
  m.def("rms_norm_backward", &rms_norm_backward);
}
