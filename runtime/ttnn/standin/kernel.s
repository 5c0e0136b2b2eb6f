# The one object every stand-in kernel is linked from: an entry point where the
# linker scripts of TT-NN look for it, and one relocation, because the ELF
# loader refuses an image that has none.
    .section .start, "ax", @progbits
    .globl  _start
    .type   _start, @function
_start:
    lui     a0, %hi(_start)
    addi    a0, a0, %lo(_start)
    ret
    .size   _start, . - _start
