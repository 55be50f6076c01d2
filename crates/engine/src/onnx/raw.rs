//! The only unsafe code of this crate: tensors and runs through ONNX Runtime's C interface.
//!
//! `ort` loads the library and makes the sessions. Its own runs are not used, because its strings must be
//! UTF-8 while ours are any bytes, because a run that selects its outputs cannot be stopped from another
//! thread, and because it copies every name and makes several C objects for each call.
//!
//! R1  A value that views our memory holds a borrow of it, so it cannot outlive it.
//! R2  Every C object is owned by a Rust value that releases it.
//! R3  Every status is turned into a `Result`; out-pointers are read only after success.

#![expect(unsafe_code, reason = "a C interface: each call says why it is sound")]

use std::ffi::{CStr, CString, NulError, c_char};
use std::marker::PhantomData;
use std::path::Path;
use std::ptr::{self, NonNull};

use domain::tensor::{AlignedBytes, FixedElements, element_count};
use domain::{DataType, Elements, Tensor};
use ort::AsPointer;
use ort::memory::MemoryInfo;
use ort::session::{RunOptions, Session};
use ort::sys;

/// Names of inputs or outputs as C takes them.
pub(super) struct Names {
    pointers: Vec<*const c_char>,
    _owned: Vec<CString>,
}

// SAFETY: the pointers point into `_owned`, which is never changed.
unsafe impl Send for Names {}
// SAFETY: as above; reading is all that is done.
unsafe impl Sync for Names {}

impl Names {
    /// Fails on a name with a NUL.
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, NulError> {
        let owned = names.map(CString::new).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            pointers: owned.iter().map(|it| it.as_ptr()).collect(),
            _owned: owned,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.pointers.len()
    }
}

/// A tensor as ONNX Runtime takes and gives it; it may view memory that lives for `'a` (R1).
pub(super) struct Value<'a> {
    pointer: NonNull<sys::OrtValue>,
    viewed: PhantomData<&'a [u8]>,
}

impl Drop for Value<'_> {
    fn drop(&mut self) {
        // SAFETY: the pointer is this value's own and is released once, here (R2).
        unsafe { (ort::api().ReleaseValue)(self.pointer.as_ptr()) }
    }
}

impl<'a> Value<'a> {
    /// Views the tensor's memory, which `memory` says is the CPU's; strings are copied.
    pub(super) fn view(memory: &MemoryInfo<'static>, tensor: &'a Tensor) -> ort::Result<Self> {
        // On the platforms that ONNX Runtime has, sizes are 64 bits wide. One above `i64::MAX` becomes
        // negative, which ONNX Runtime refuses.
        const { assert!(size_of::<usize>() == size_of::<i64>()) }
        let shape: &[i64] = bytemuck::cast_slice(tensor.shape());
        match tensor.elements() {
            Elements::Fixed(fixed) => Self::view_fixed(memory, shape, fixed),
            Elements::Bytes(strings) => Self::copy_strings(shape, strings),
        }
    }

    fn view_fixed(
        memory: &MemoryInfo<'static>,
        shape: &[i64],
        fixed: &'a FixedElements,
    ) -> ort::Result<Self> {
        let bytes = fixed.as_bytes();
        let mut pointer = ptr::null_mut();
        // SAFETY: pointers and lengths are those of live slices, and ONNX Runtime checks that the shape needs
        // no more bytes than there are. Inputs of a run are only read, so the cast to `*mut` is for the
        // C signature alone; the borrow in `Self` keeps the bytes alive (R1). They are aligned for any type.
        check(unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                memory.ptr(),
                bytes.as_ptr().cast_mut().cast(),
                bytes.len(),
                shape.as_ptr(),
                shape.len(),
                element_type(fixed.datatype()),
                &raw mut pointer,
            )
        })?;
        Self::own(pointer)
    }

    fn copy_strings(shape: &[i64], strings: &[Vec<u8>]) -> ort::Result<Self> {
        let mut allocator = ptr::null_mut();
        let mut pointer = ptr::null_mut();
        // SAFETY: the out-pointer is valid. The allocator is ONNX Runtime's own and lives as long as it does.
        check(unsafe { (ort::api().GetAllocatorWithDefaultOptions)(&raw mut allocator) })?;
        // SAFETY: the allocator is from the call above, the shape is a live slice.
        check(unsafe {
            (ort::api().CreateTensorAsOrtValue)(
                allocator,
                shape.as_ptr(),
                shape.len(),
                element_type(DataType::Bytes),
                &raw mut pointer,
            )
        })?;
        let value = Self::own(pointer)?;
        for (index, string) in strings.iter().enumerate() {
            let mut buffer = ptr::null_mut();
            // SAFETY: the value is a string tensor of the shape whose product is `strings.len()`, and ONNX
            // Runtime checks the index.
            check(unsafe {
                (ort::api().GetResizedStringTensorElementBuffer)(
                    value.pointer.as_ptr(),
                    index,
                    string.len(),
                    &raw mut buffer,
                )
            })?;
            // SAFETY: the call above made the element `string.len()` bytes long; the two do not overlap.
            unsafe { ptr::copy_nonoverlapping(string.as_ptr(), buffer.cast(), string.len()) }
        }
        Ok(value)
    }

    fn own(pointer: *mut sys::OrtValue) -> ort::Result<Self> {
        let pointer = NonNull::new(pointer).ok_or_else(|| ort::Error::new("no value was made"))?;
        Ok(Self {
            pointer,
            viewed: PhantomData,
        })
    }

    /// A copy as a tensor of ours. An error when it is none: no tensor, or of a type that we do not have.
    pub(super) fn read(&self) -> ort::Result<Tensor> {
        let (datatype, shape) = self.describe()?;
        let count = element_count(&shape).ok_or_else(|| ort::Error::new("its shape overflows"))?;
        let elements = match datatype.width() {
            None => Elements::Bytes(self.read_strings(count)?),
            Some(width) => {
                let mut data = ptr::null_mut();
                // SAFETY: the value is a tensor, as `describe` saw.
                check(unsafe {
                    (ort::api().GetTensorMutableData)(self.pointer.as_ptr(), &raw mut data)
                })?;
                let bytes = if count == 0 || data.is_null() {
                    AlignedBytes::default()
                } else {
                    // SAFETY: a tensor of `count` elements of `width` bytes lies there, for as long as `self`
                    // is borrowed. Outputs of a run are in the CPU's memory unless bound elsewhere.
                    unsafe { std::slice::from_raw_parts(data.cast::<u8>(), count * width) }.into()
                };
                let fixed = FixedElements::new(datatype, bytes);
                Elements::Fixed(fixed.ok_or_else(|| ort::Error::new("a BOOL is neither 0 nor 1"))?)
            }
        };
        Tensor::new(shape, elements).ok_or_else(|| ort::Error::new("its shape is not its size"))
    }

    fn describe(&self) -> ort::Result<(DataType, Vec<usize>)> {
        struct Description(*mut sys::OrtTensorTypeAndShapeInfo);
        impl Drop for Description {
            fn drop(&mut self) {
                // SAFETY: made by `GetTensorTypeAndShape` below and released once (R2).
                unsafe { (ort::api().ReleaseTensorTypeAndShapeInfo)(self.0) }
            }
        }
        let api = ort::api();
        let mut info = ptr::null_mut();
        // SAFETY: the value is live; anything but a tensor is an error.
        check(unsafe { (api.GetTensorTypeAndShape)(self.pointer.as_ptr(), &raw mut info) })?;
        let info = Description(info);
        let mut element = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
        let mut rank = 0;
        // SAFETY: the description is live, the out-pointer is valid.
        check(unsafe { (api.GetTensorElementType)(info.0, &raw mut element) })?;
        // SAFETY: as above.
        check(unsafe { (api.GetDimensionsCount)(info.0, &raw mut rank) })?;
        let mut shape = vec![0i64; rank];
        // SAFETY: as above, with room for `rank` numbers.
        check(unsafe { (api.GetDimensions)(info.0, shape.as_mut_ptr(), rank) })?;
        let datatype = datatype(element.into())
            .ok_or_else(|| ort::Error::new(format!("its elements are {element:?}")))?;
        let shape = shape
            .into_iter()
            .map(usize::try_from)
            .collect::<Result<_, _>>();
        let shape = shape.map_err(|_| ort::Error::new("its shape has a negative size"))?;
        Ok((datatype, shape))
    }

    fn read_strings(&self, count: usize) -> ort::Result<Vec<Vec<u8>>> {
        let api = ort::api();
        let mut total = 0;
        // SAFETY: the value is a string tensor, as `describe` saw.
        check(unsafe { (api.GetStringTensorDataLength)(self.pointer.as_ptr(), &raw mut total) })?;
        let mut bytes = vec![0u8; total];
        let mut offsets = vec![0usize; count];
        // SAFETY: room for `total` bytes and for one offset per element.
        check(unsafe {
            (api.GetStringTensorContent)(
                self.pointer.as_ptr(),
                bytes.as_mut_ptr().cast(),
                total,
                offsets.as_mut_ptr(),
                count,
            )
        })?;
        let ends = offsets.iter().skip(1).copied().chain([total]);
        let strings = offsets
            .iter()
            .zip(ends)
            .map(|(start, end)| bytes.get(*start..end));
        strings
            .map(|it| it.map(<[u8]>::to_vec))
            .collect::<Option<_>>()
            .ok_or_else(|| ort::Error::new("its strings overlap"))
    }
}

/// Computes the outputs with these indexes. There is a value for each input; none for an output is an
/// optional one that the model left out.
pub(super) fn run(
    session: &mut Session,
    options: &RunOptions,
    (input_names, inputs): (&Names, &[Value<'_>]),
    (output_names, outputs): (&Names, &[usize]),
) -> ort::Result<Vec<Option<Value<'static>>>> {
    assert_eq!(input_names.len(), inputs.len());
    let inputs: Vec<*const sys::OrtValue> = inputs
        .iter()
        .map(|it| it.pointer.as_ptr().cast_const())
        .collect();
    let names: Vec<*const c_char> = outputs
        .iter()
        .map(|it| output_names.pointers[*it])
        .collect();
    let mut values = vec![ptr::null_mut(); outputs.len()];
    // SAFETY: names, values and out-pointers are as many as said; all are live during the call. The session is
    // borrowed mutably, so this is its only run. What it gives is memory of its own, that no input's borrow
    // bounds: ONNX Runtime copies an input that is an output.
    let status = unsafe {
        (ort::api().Run)(
            session.ptr_mut(),
            options.ptr(),
            input_names.pointers.as_ptr(),
            inputs.as_ptr(),
            inputs.len(),
            names.as_ptr(),
            names.len(),
            values.as_mut_ptr(),
        )
    };
    // Owned before the status is looked at: a failed run may leave some of them made.
    let values = values.into_iter().map(|it| Value::own(it).ok()).collect();
    check(status)?;
    Ok(values)
}

/// The version that the library says it has. `ort` knows it and keeps it to itself.
pub(super) fn version(library: &Path) -> Option<String> {
    // SAFETY: the library is loaded already, by `ort`, so this runs none of its code; it only counts one more
    // user. The function and what it gives are as in `onnxruntime_c_api.h`; the text is static.
    unsafe {
        let library = libloading::Library::new(library).ok()?;
        let base =
            library.get::<unsafe extern "C" fn() -> *const sys::OrtApiBase>(b"OrtGetApiBase");
        let base = base.ok()?().as_ref()?;
        let version = CStr::from_ptr((base.GetVersionString)());
        version.to_str().ok().map(str::to_owned)
    }
}

fn check(status: sys::OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: the status comes from a call of the C interface and is taken once (R3).
    unsafe { ort::Error::result_from_status(status) }
}

fn element_type(datatype: DataType) -> sys::ONNXTensorElementDataType {
    use ort::value::TensorElementType as Ort;
    let element = match datatype {
        DataType::Bool => Ort::Bool,
        DataType::Uint8 => Ort::Uint8,
        DataType::Uint16 => Ort::Uint16,
        DataType::Uint32 => Ort::Uint32,
        DataType::Uint64 => Ort::Uint64,
        DataType::Int8 => Ort::Int8,
        DataType::Int16 => Ort::Int16,
        DataType::Int32 => Ort::Int32,
        DataType::Int64 => Ort::Int64,
        DataType::Fp16 => Ort::Float16,
        DataType::Bf16 => Ort::Bfloat16,
        DataType::Fp32 => Ort::Float32,
        DataType::Fp64 => Ort::Float64,
        DataType::Bytes => Ort::String,
    };
    element.into()
}

/// Our type for ONNX Runtime's; none for complex numbers and those narrower than a byte or of one byte
/// with a fraction.
pub(super) fn datatype(element: ort::value::TensorElementType) -> Option<DataType> {
    DataType::ALL
        .into_iter()
        .find(|it| element == element_type(*it).into())
}
