! A function in Fortran: the Euclidean norm of doubles, as one double.
function norm(input, bytes, output) bind(C, name="norm") result(written)
  use, intrinsic :: iso_c_binding
  implicit none
  type(c_ptr), value :: input, output
  integer(c_int32_t), value :: bytes
  integer(c_int32_t) :: written
  real(c_double), pointer :: numbers(:), total

  call c_f_pointer(input, numbers, [bytes / 8])
  call c_f_pointer(output, total)
  total = norm2(numbers)
  written = 8
end function norm
