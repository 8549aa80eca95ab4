//! A vector with holes: values under small integer keys that stay put, freed keys used again first.

/// Holds `T`s under keys; memory follows the largest number ever held at once.
pub(crate) struct Slab<T> {
    entries: Vec<Option<T>>,
    vacant: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            vacant: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(key) = self.vacant.pop() {
            self.entries[key as usize] = Some(value);
            return key;
        }
        let key = u32::try_from(self.entries.len()).expect("fewer values than connections");
        self.entries.push(Some(value));
        key
    }

    pub(crate) fn remove(&mut self, key: u32) -> Option<T> {
        let value = self.entries.get_mut(key as usize)?.take()?;
        self.vacant.push(key);
        Some(value)
    }

    pub(crate) fn get(&self, key: u32) -> Option<&T> {
        self.entries.get(key as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        self.entries.get_mut(key as usize)?.as_mut()
    }
}
