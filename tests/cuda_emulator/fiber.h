#ifndef EPLB_TESTS_CUDA_EMULATOR_FIBER_H
#define EPLB_TESTS_CUDA_EMULATOR_FIBER_H

#include <cstddef>

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace cuda_emulator {

// A function with a stack of its own that can stop and go on. One thread of the host at a time uses
// fibers.
class Fiber {
  public:
    Fiber();
    ~Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    // The next resume() begins `function` anew; what ran before is forgotten. It must not throw.
    void reset(void (*function)());

    // Runs until the function suspends or returns. Called outside of fibers.
    void resume();

    bool finished() const { return finished_; }

    // Back to whom has resumed this fiber; called in a fiber.
    static void suspend();

  private:
    static void run();
    void leave();

    void (*function_)() = nullptr;
    bool finished_ = true;
    std::byte* stack_;
#ifdef __x86_64__
    void* stack_pointer_ = nullptr;
    void* resumer_ = nullptr;
#else
    ucontext_t context_;
    ucontext_t resumer_;
#endif
    // what the address sanitizer wants to know
    void* fake_stack_ = nullptr;
    void* resumer_fake_stack_ = nullptr;
    const void* resumer_stack_ = nullptr;
    std::size_t resumer_stack_size_ = 0;
};

}  // namespace cuda_emulator

#endif
