// A function in C++. No exception may leave it: there is nothing above it that could catch one.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

// The median of doubles, as one double; nothing when there are none, or no memory for a copy.
extern "C" uint32_t median(void *input, uint32_t bytes, void *output) try {
  const auto *begin = static_cast<const double *>(input);
  std::vector<double> numbers(begin, begin + bytes / sizeof(double));
  if (numbers.empty()) return 0;
  const auto upper = numbers.begin() + numbers.size() / 2;
  std::nth_element(numbers.begin(), upper, numbers.end());
  double middle = *upper;
  if (numbers.size() % 2 == 0) middle = (middle + *std::max_element(numbers.begin(), upper)) / 2;
  std::memcpy(output, &middle, sizeof middle);
  return sizeof middle;
} catch (...) {
  return 0;
}
