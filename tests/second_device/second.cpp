#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>
#include <atomic>
#include <cstdlib>
#include <cstring>

namespace {

std::atomic<int64_t> waits{0};
thread_local bool falling_back = false;  // its own copies are no waits

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes ? std::malloc(bytes) : nullptr;
    return {data, data, &std::free, c10::Device(c10::DeviceType::PrivateUse1, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &std::free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};
Memory memory;
REGISTER_ALLOCATOR(c10::DeviceType::PrivateUse1, &memory);

struct Guard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::PrivateUse1> {
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

at::Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                 std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   at::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<at::ScalarType> dtype,
                         std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), &memory,
                                           c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), at::dtype_or_default(dtype));
}

// The same memory as a tensor of the host.
at::Tensor host(const at::Tensor& x) {
  if (!x.is_privateuseone()) return x;
  return at::from_blob(x.data_ptr(), x.sizes(), x.strides(), [x](void*) {}, x.options().device(at::kCPU).requires_grad(false));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  if (!to.is_privateuseone() && !falling_back) ++waits;
  host(to).copy_(host(from));
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (to.sizes() != from.sizes()) to.resize_(from.sizes());
  return copy_from(from, to, false);
}

at::Scalar value(const at::Tensor& x) {
  ++waits;
  return at::_local_scalar_dense(host(x));
}

const at::Tensor& resize(const at::Tensor& x, c10::SymIntArrayRef size, std::optional<at::MemoryFormat>) {
  auto* impl = x.unsafeGetTensorImpl();
  auto sizes = C10_AS_INTARRAYREF_SLOW(size);
  impl->set_sizes_contiguous(sizes);
  size_t bytes = (impl->storage_offset() + impl->numel()) * impl->itemsize();
  if (bytes > impl->unsafe_storage().nbytes()) {
    auto data = memory.allocate(bytes);
    if (impl->unsafe_storage().nbytes()) std::memcpy(data.get(), impl->unsafe_storage().data(), impl->unsafe_storage().nbytes());
    impl->unsafe_storage().set_data_ptr_noswap(std::move(data));
    impl->unsafe_storage().set_nbytes(bytes);
  }
  return x;
}

void check(const c10::OperatorHandle& op, const c10::IValue& given, bool& here, bool& there) {
  if (given.isTensor()) {
    const auto& x = given.toTensor();
    if (!x.defined()) return;
    if (x.is_privateuseone()) there = true;
    else if (x.dim() > 0) here = true;
  } else if (given.isTensorList()) {
    for (const at::Tensor& x : given.toTensorVector()) check(op, x, here, there);
  } else if (given.isOptionalTensorList()) {
    for (const auto& x : given.toOptionalTensorVector()) if (x) check(op, *x, here, there);
  }
}

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const auto count = schema.arguments().size();
  bool here = false, there = false;
  for (size_t i = 0; i < count; ++i) check(op, (*stack)[stack->size() - count + i], here, there);
  const auto& name = schema.name();
  if (here && there) TORCH_CHECK(false, "Expected all tensors to be on the same device, but ", name, " got some of the host");
  if (name == "aten::nonzero" || name == "aten::masked_select" || name == "aten::equal" || name == "aten::_unique2" || name == "aten::unique_dim" ||
      name == "aten::unique_consecutive" || name == "aten::is_nonzero") ++waits;
  falling_back = true;
  try {
    at::native::cpu_fallback(op, stack);
  } catch (...) {
    falling_back = false;
    throw;
  }
  falling_back = false;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("_local_scalar_dense", value);
  m.impl("resize_", resize);
  m.impl("view", [](const at::Tensor& x, c10::SymIntArrayRef size) { return at::native::view(x, C10_AS_INTARRAYREF_SLOW(size)); });
  m.impl("as_strided", [](const at::Tensor& x, c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<c10::SymInt> offset) {
    return at::native::as_strided_tensorimpl(x, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride),
                                             offset ? std::optional<int64_t>(offset->expect_int()) : std::nullopt);
  });
  m.impl("_reshape_alias", [](const at::Tensor& x, c10::SymIntArrayRef size, c10::SymIntArrayRef stride) {
    return at::native::_reshape_alias(x, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride));
  });
  // The CPU has none of whole numbers; transformers calls it for experts on any other device.
  m.impl("histc", [](const at::Tensor& x, int64_t bins, const at::Scalar& low, const at::Scalar& high) {
    return at::histc(host(x).to(at::kDouble), bins, low, high).to(x.scalar_type()).to(x.device());
  });
  m.impl("unfold", [](const at::Tensor& x, int64_t dim, int64_t size, int64_t step) { return at::native::unfold(x, dim, size, step); });
  m.impl("set_.source_Storage_storage_offset", [](at::Tensor& x, at::Storage s, c10::SymInt o, c10::SymIntArrayRef size, c10::SymIntArrayRef stride) -> at::Tensor& {
    x.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(s));
    x.unsafeGetTensorImpl()->set_sizes_and_strides(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), o.expect_int());
    return x;
  });
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }

TORCH_LIBRARY_FRAGMENT(second, m) {
  m.def("waits() -> int", []() -> int64_t { return waits.load(); });
}

}  // namespace
