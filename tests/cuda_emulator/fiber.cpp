#include "tests/cuda_emulator/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define EMULATOR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATOR_ASAN 1
#endif
#endif

#ifdef EMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_emulator {
namespace {

// with the address sanitizer every variable takes more room
#ifdef EMULATOR_ASAN
constexpr std::size_t kStackSize = std::size_t{256} << 10;
#else
constexpr std::size_t kStackSize = std::size_t{128} << 10;
#endif

Fiber* current = nullptr;

#ifdef EMULATOR_ASAN
void before_switch(void** fake_stack, const void* stack, std::size_t size) {
    __sanitizer_start_switch_fiber(fake_stack, stack, size);
}
void after_switch(void* fake_stack, const void** old_stack, std::size_t* old_size) {
    __sanitizer_finish_switch_fiber(fake_stack, old_stack, old_size);
}
void forget_stack(const void* stack, std::size_t size) {
    __asan_unpoison_memory_region(stack, size);
}
#else
void before_switch(void**, const void*, std::size_t) {}
void after_switch(void*, const void**, std::size_t*) {}
void forget_stack(const void*, std::size_t) {}
#endif

}  // namespace

#ifdef __x86_64__
// swapcontext() would ask the kernel for the signal mask every time, which is most of its cost. The
// registers that a call preserves are pushed, the stacks exchanged, and popped again.
extern "C" void cuda_emulator_switch_stack(void** save, void* load);
asm(R"(
.text
.type cuda_emulator_switch_stack, @function
cuda_emulator_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size cuda_emulator_switch_stack, .-cuda_emulator_switch_stack
)");
#endif

Fiber::Fiber() {
    // the lowest page stays closed: a stack that is too small ends the program at once
    void* const memory = mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        throw std::bad_alloc();
    mprotect(memory, static_cast<std::size_t>(sysconf(_SC_PAGESIZE)), PROT_NONE);
    stack_ = static_cast<std::byte*>(memory);
}

Fiber::~Fiber() {
    forget_stack(stack_, kStackSize);
    munmap(stack_, kStackSize);
}

void Fiber::reset(void (*function)()) {
    function_ = function;
    finished_ = false;
    fake_stack_ = nullptr;
    forget_stack(stack_, kStackSize);
#ifdef __x86_64__
    // as if run() had been called from nowhere: six registers, then where `ret` goes; a function
    // expects its stack 8 bytes past a multiple of 16
    auto* top = reinterpret_cast<std::uintptr_t*>(stack_ + kStackSize);
    *--top = 0;
    *--top = reinterpret_cast<std::uintptr_t>(&Fiber::run);
    for (int i = 0; i < 6; ++i)
        *--top = 0;
    stack_pointer_ = top;
#else
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_;
    context_.uc_stack.ss_size = kStackSize;
    context_.uc_link = nullptr;
    makecontext(&context_, &Fiber::run, 0);
#endif
}

void Fiber::resume() {
    current = this;
    before_switch(&resumer_fake_stack_, stack_, kStackSize);
#ifdef __x86_64__
    cuda_emulator_switch_stack(&resumer_, stack_pointer_);
#else
    swapcontext(&resumer_, &context_);
#endif
    after_switch(resumer_fake_stack_, nullptr, nullptr);
    current = nullptr;
}

void Fiber::leave() {
    // a function that has ended needs its fake stack no more
    before_switch(finished_ ? nullptr : &fake_stack_, resumer_stack_, resumer_stack_size_);
#ifdef __x86_64__
    cuda_emulator_switch_stack(&stack_pointer_, resumer_);
#else
    swapcontext(&context_, &resumer_);
#endif
    after_switch(fake_stack_, &resumer_stack_, &resumer_stack_size_);
}

void Fiber::suspend() {
    current->leave();
}

void Fiber::run() {
    Fiber& fiber = *current;
    after_switch(nullptr, &fiber.resumer_stack_, &fiber.resumer_stack_size_);
    fiber.function_();
    fiber.finished_ = true;
    fiber.leave();
    std::abort();
}

}  // namespace cuda_emulator
