mod click;
mod store;
