// What torch's CPU build asks of CUDA in C++ before Python is asked: who guards the device, how many there are, and generators.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstdlib>

namespace {

using c10::Device, c10::DeviceIndex, c10::DeviceType, c10::Stream;

DeviceIndex count() {
  const char* stated = std::getenv("BENCHBENCH_PRETEND_CUDA_GPUS");
  return static_cast<DeviceIndex>(stated ? std::atoi(stated) : 1);
}

Stream only_stream(Device device) {
  return Stream(Stream::DEFAULT, Device(DeviceType::CUDA, device.index() < 0 ? 0 : device.index()));
}

// Everything runs at once on the CPU, so that there is nothing to switch and nothing to wait for.
struct Guard final : c10::impl::NoOpDeviceGuardImpl<DeviceType::CUDA> {
  Device exchangeDevice(Device) const override { return Device(DeviceType::CUDA, 0); }
  Device getDevice() const override { return Device(DeviceType::CUDA, 0); }
  DeviceIndex deviceCount() const noexcept override { return count(); }
  Stream getStream(Device device) const noexcept override { return only_stream(device); }
  Stream getDefaultStream(Device device) const override { return only_stream(device); }
  Stream getStreamFromGlobalPool(Device device, bool) const override { return only_stream(device); }
  Stream exchangeStream(Stream stream) const noexcept override { return stream; }
  void record(void**, const Stream&, const DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
};

// A generator of the CPU that calls itself CUDA's: operations on CPU tensors refuse it, as they should.
struct Generator final : at::CPUGeneratorImpl {
  explicit Generator(DeviceIndex index) {
    device_ = Device(DeviceType::CUDA, index < 0 ? 0 : index);
    key_set_ = c10::DispatchKeySet(c10::DispatchKey::CUDA);
  }
};

struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return count(); }
  DeviceIndex getCurrentDevice() const override { return 0; }
  at::Generator getNewGenerator(DeviceIndex index) const override { return at::make_generator<Generator>(index); }
};

C10_REGISTER_GUARD_IMPL(CUDA, Guard)

}  // namespace

namespace at {
C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, Hooks)
}
